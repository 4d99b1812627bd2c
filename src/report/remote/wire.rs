//! Prometheus remote-write 1.0 on the wire: the text of `/metrics` -> samples -> protobuf in a snappy block. Pure.

use crate::base::clock::Time;
use prost::Message;

/// What is sent.
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    /// One for each set of labels.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

/// Values of one set of labels.
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// Sorted by name; the metric's name is one of them.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// One here.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
}

/// A label.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Message)]
pub struct Label {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A value.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Sample {
    /// It.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// When, milliseconds since 1970.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

/// The most series of a request: a node has some 400.
const MOST: usize = 4_000;

/// One request of all that `text` (format 0.0.4, our own) says, with these labels besides; how many values, and the body.
///
/// # Errors
/// Snappy's, for more than 4 GiB.
pub fn request(text: &str, moment: Time, more: &[(&str, &str)]) -> Result<(u64, Vec<u8>), snap::Error> {
    let timestamp = moment.micros().div_euclid(1_000);
    let mut timeseries = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')).take(MOST) {
        let Some((mut labels, value)) = series(line) else { continue };
        labels.extend(more.iter().map(|(name, value)| Label { name: (*name).into(), value: (*value).into() }));
        labels.sort_unstable();
        labels.dedup_by(|later, earlier| later.name == earlier.name);
        timeseries.push(TimeSeries { labels, samples: vec![Sample { value, timestamp }] });
    }
    let count = u64::try_from(timeseries.len()).unwrap_or(u64::MAX);
    let plain = WriteRequest { timeseries }.encode_to_vec();
    Ok((count, snap::raw::Encoder::new().compress_vec(&plain)?))
}

/// `name{label="value",…} 1.5` as labels and value.
fn series(line: &str) -> Option<(Vec<Label>, f64)> {
    let at = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(at);
    let mut labels = vec![Label { name: "__name__".into(), value: name.into() }];
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (name, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.push(Label { name: name.into(), value });
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = rest.strip_prefix('}')?;
    }
    Some((labels, rest.trim().parse().ok()?))
}

/// What stands before the closing quote, and what comes after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(body: &[u8]) -> WriteRequest {
        let plain = snap::raw::Decoder::new().decompress_vec(body).expect("a snappy block");
        WriteRequest::decode(plain.as_slice()).expect("protobuf")
    }

    #[test]
    fn what_metrics_print_is_what_is_sent() {
        let text = "# HELP a_total x\n# TYPE a_total counter\na_total{way=\"http\",cache=\"hit\"} 3\nb 1.5\nc_bucket{le=\"+Inf\"} 7\nnonsense\nd{x=\"\\\"q\\\\\\n\"} NaN\ne{x=\"open\n";
        let (count, body) =
            request(text, Time::from_micros(1_795_496_400_123_999), &[("instance", "abay-12"), ("job", "bulak")]).expect("fits");
        let told = open(&body);
        assert_eq!((count, told.timeseries.len()), (4, 4));
        let words =
            |series: &TimeSeries| series.labels.iter().map(|label| format!("{}={}", label.name, label.value)).collect::<Vec<_>>().join(",");
        assert_eq!(words(&told.timeseries[0]), "__name__=a_total,cache=hit,instance=abay-12,job=bulak,way=http");
        assert_eq!(words(&told.timeseries[2]), "__name__=c_bucket,instance=abay-12,job=bulak,le=+Inf");
        assert_eq!(words(&told.timeseries[3]), "__name__=d,instance=abay-12,job=bulak,x=\"q\\\n");
        assert_eq!(told.timeseries[1].samples, [Sample { value: 1.5, timestamp: 1_795_496_400_123 }]);
        assert!(told.timeseries[3].samples[0].value.is_nan());
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        // Field 1 (a series of 23 bytes): label a=b, sample 2.0 at 1.
        let (_, body) = request("x 2\n", Time::from_micros(1_000), &[]).expect("fits");
        let plain = snap::raw::Decoder::new().decompress_vec(&body).expect("a snappy block");
        let wanted = b"\x0a\x1c\x0a\x0d\x0a\x08__name__\x12\x01x\x12\x0b\x09\x00\x00\x00\x00\x00\x00\x00\x40\x10\x01";
        assert_eq!(plain, wanted);
    }
}
