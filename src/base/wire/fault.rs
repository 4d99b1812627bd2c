//! What is wrong with a message, and what may be at most. Each fault has a status for the client (RFC 9112 names most of
//! them), a word for metrics and a sentence for people.

/// What may be at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a head (or of all trailers), line ends included. 64 KiB: four times what browsers with full cookie jars send.
    pub head: usize,
    /// Fields in a head (or trailers).
    pub fields: usize,
    /// Bytes of a request target (RFC 9112 section 3 asks for 8,000 at least).
    pub target: usize,
    /// Bytes of chunk extensions in one message; nobody uses them, so they are room for mischief only.
    pub extensions: usize,
    /// Interim answers before a final one.
    pub interims: usize,
}

impl Limits {
    /// For requests. 100 fields, not 200: that many fit hyper's stack, more would cost an allocation on every request, and
    /// browsers send about 30.
    pub const REQUEST: Limits = Limits { head: 64 << 10, fields: 100, target: 32 << 10, extensions: 1 << 10, interims: 32 };
    /// For answers.
    pub const RESPONSE: Limits = Limits { head: 64 << 10, fields: 200, target: 64 << 10, extensions: 4 << 10, interims: 32 };
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::REQUEST
    }
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// RFC 9110 section 9.1: a token.
    #[error("the method is not a token")]
    Method,
    /// Longer than any method there is.
    #[error("the method is longer than 32 bytes")]
    MethodLong,
    /// RFC 9112 section 3.2.
    #[error("the request target holds bytes that must be percent-encoded")]
    Target,
    /// RFC 9110 section 15.5.15.
    #[error("the request target is too long")]
    TargetLong,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("this HTTP version is not spoken here")]
    Version,
    /// RFC 9112 section 4.
    #[error("the status line is malformed")]
    StatusLine,
    /// RFC 9112 section 2.2: CRLF only.
    #[error("a line does not end in CR LF")]
    LineEnd,
    /// RFC 9110 section 5.5.
    #[error("a field value holds a control byte")]
    Control,
    /// RFC 9112 section 5.1: a token, and no space before the colon.
    #[error("a field name is malformed")]
    Name,
    /// RFC 9112 section 5.2.
    #[error("a field value is folded over lines")]
    Fold,
    /// RFC 9112 section 3.2: exactly one, well formed.
    #[error("there must be one well-formed Host field")]
    Host,
    /// RFC 9112 section 6.3.
    #[error("Content-Length is malformed or repeated")]
    Length,
    /// RFC 9112 section 6.1.
    #[error("Transfer-Encoding is malformed or repeated")]
    Coding,
    /// RFC 9112 section 6.1: 501.
    #[error("this transfer coding is not understood")]
    CodingUnknown,
    /// RFC 9112 section 6.1: ought to be handled as an attack.
    #[error("Content-Length and Transfer-Encoding are both there")]
    Both,
    /// A head or trailers beyond the limit.
    #[error("the head is too long")]
    HeadLong,
    /// Too many fields.
    #[error("there are too many fields")]
    FieldsMany,
    /// RFC 9112 section 7.1.
    #[error("a chunk is malformed")]
    Chunk,
    /// RFC 9112 section 7.1.1.
    #[error("chunk extensions are malformed or too long")]
    Extension,
    /// RFC 9110 section 6.5.1: framing and routing do not belong into trailers.
    #[error("the trailers hold a field that must not be there")]
    Trailer,
    /// Bytes that belong to no answer.
    #[error("there are bytes after the answer")]
    Surplus,
    /// Interim answers without end, or a switch that nobody asked for.
    #[error("interim answers that nobody asked for")]
    Interim,
    /// The client took too long.
    #[error("the request did not arrive in time")]
    Slow,
}

impl Fault {
    /// The status that tells the client.
    pub const fn status(self) -> u16 {
        match self {
            Fault::TargetLong => 414,
            Fault::HeadLong | Fault::FieldsMany => 431,
            Fault::MethodLong | Fault::CodingUnknown => 501,
            Fault::Version => 505,
            Fault::Slow => 408,
            _ => 400,
        }
    }

    /// One word from a closed set, for metrics and the page's id.
    pub const fn word(self) -> &'static str {
        match self {
            Fault::Method => "method",
            Fault::MethodLong => "method_long",
            Fault::Target => "target",
            Fault::TargetLong => "target_long",
            Fault::Version => "version",
            Fault::StatusLine => "status_line",
            Fault::LineEnd => "line_end",
            Fault::Control => "control",
            Fault::Name => "name",
            Fault::Fold => "fold",
            Fault::Host => "host",
            Fault::Length => "length",
            Fault::Coding => "coding",
            Fault::CodingUnknown => "coding_unknown",
            Fault::Both => "length_and_coding",
            Fault::HeadLong => "head_long",
            Fault::FieldsMany => "fields_many",
            Fault::Chunk => "chunk",
            Fault::Extension => "extension",
            Fault::Trailer => "trailer",
            Fault::Surplus => "surplus",
            Fault::Interim => "interim",
            Fault::Slow => "slow",
        }
    }
}
