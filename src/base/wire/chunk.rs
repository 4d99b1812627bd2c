//! Chunked coding (RFC 9112 section 7.1): sizes are 1 to 16 hex digits, no more; extensions are bounded; CR LF is exact;
//! trailers obey the rules of fields. Judges only: hyper decodes.

use crate::base::wire::fault::{Fault, Limits};
use crate::base::wire::head::{Fields, plain};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
}

/// Reads a chunked body, in any pieces.
#[derive(Debug)]
pub struct Chunks {
    at: At,
    digits: u8,
    /// Bytes of the chunk that are left; while reading a size, the size so far.
    left: u64,
    extensions: usize,
}

impl Default for Chunks {
    /// At the first size.
    fn default() -> Chunks {
        Chunks { at: At::Size, digits: 0, left: 0, extensions: 0 }
    }
}

impl Chunks {
    /// Reads from `bytes[*at..]` and moves `at` on; `fields` reads the trailers. Whether the body has ended.
    ///
    /// # Errors
    /// The first fault.
    pub fn feed(&mut self, limits: &Limits, fields: &mut Fields, bytes: &[u8], at: &mut usize) -> Result<bool, Fault> {
        while let Some(&byte) = bytes.get(*at) {
            match self.at {
                At::Size => {
                    *at += 1;
                    self.size(byte)?;
                }
                At::Extension => self.extension(limits, bytes, at)?,
                At::SizeLf => {
                    expect(byte, b'\n')?;
                    *at += 1;
                    self.digits = 0;
                    self.at = if self.left > 0 { At::Data } else { At::Trailers };
                    if self.left == 0 {
                        fields.begin(true);
                    }
                }
                At::Data => {
                    let there = bytes.len() - *at;
                    let take = usize::try_from(self.left).map_or(there, |left| left.min(there));
                    *at += take;
                    self.left -= take as u64;
                    if self.left == 0 {
                        self.at = At::DataCr;
                    }
                }
                At::DataCr => {
                    expect(byte, b'\r')?;
                    *at += 1;
                    self.at = At::DataLf;
                }
                At::DataLf => {
                    expect(byte, b'\n')?;
                    *at += 1;
                    self.at = At::Size;
                }
                At::Trailers => return Ok(fields.feed(limits, bytes, at)?.is_some()),
            }
        }
        Ok(false)
    }

    fn size(&mut self, byte: u8) -> Result<(), Fault> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            self.digits += 1;
            if self.digits > 16 {
                return Err(Fault::Chunk);
            }
            self.left = self.left << 4 | u64::from(digit);
            return Ok(());
        }
        self.at = match byte {
            b'\r' if self.digits > 0 => At::SizeLf,
            b';' if self.digits > 0 => At::Extension,
            _ => return Err(Fault::Chunk),
        };
        Ok(())
    }

    fn extension(&mut self, limits: &Limits, bytes: &[u8], at: &mut usize) -> Result<(), Fault> {
        let len = plain(&bytes[*at..]);
        self.extensions += len;
        *at += len;
        if self.extensions > limits.extensions {
            return Err(Fault::Extension);
        }
        match bytes.get(*at) {
            None => Ok(()),
            Some(b'\r') => {
                *at += 1;
                self.at = At::SizeLf;
                Ok(())
            }
            Some(_) => Err(Fault::Extension),
        }
    }
}

fn expect(byte: u8, wanted: u8) -> Result<(), Fault> {
    if byte == wanted { Ok(()) } else { Err(Fault::Chunk) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_read_exactly() {
        let table = [
            ("0\r\n\r\n", Ok(true)),
            ("3\r\nabc\r\n0\r\n\r\n", Ok(true)),
            ("A\r\n0123456789\r\n00\r\nX: y\r\n\r\n", Ok(true)),
            ("1;a=b;c=\"d e\"\r\nx\r\n0\r\n\r\n", Ok(true)),
            ("3\r\nab", Ok(false)),
            ("\r\n", Err(Fault::Chunk)),
            ("-1\r\n", Err(Fault::Chunk)),
            ("+1\r\n", Err(Fault::Chunk)),
            ("0x1\r\n", Err(Fault::Chunk)),
            ("1_0\r\n", Err(Fault::Chunk)),
            ("1 \r\n", Err(Fault::Chunk)),
            (" 1\r\n", Err(Fault::Chunk)),
            ("1\n", Err(Fault::Chunk)),
            ("1\rx", Err(Fault::Chunk)),
            ("00000000000000001\r\n", Err(Fault::Chunk)),
            ("1\r\nab\r\n", Err(Fault::Chunk)),
            ("1\r\na\n", Err(Fault::Chunk)),
            ("1\r\na\rb", Err(Fault::Chunk)),
            (";x\r\n", Err(Fault::Chunk)),
            ("1;a\nb", Err(Fault::Extension)),
            ("1;a\0b", Err(Fault::Extension)),
            ("0\r\nContent-Length: 1\r\n\r\n", Err(Fault::Trailer)),
            ("0\r\nX : y\r\n\r\n", Err(Fault::Name)),
            ("0\r\n\n", Err(Fault::LineEnd)),
        ];
        for (text, wanted) in table {
            let found = Chunks::default().feed(&Limits::REQUEST, &mut Fields::default(), text.as_bytes(), &mut 0);
            assert_eq!(found, wanted, "{text:?}");
        }
        let long = format!("1;{}\r\n", "x".repeat(2000));
        let found = Chunks::default().feed(&Limits::REQUEST, &mut Fields::default(), long.as_bytes(), &mut 0);
        assert_eq!(found, Err(Fault::Extension));
    }
}
