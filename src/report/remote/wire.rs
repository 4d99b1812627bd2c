//! Prometheus remote-write 1.0 on the wire: the text of `/metrics` -> samples -> protobuf in a snappy block. Pure.

use crate::base::clock::Time;
use crate::base::varint;

/// A label: name and value.
type Label = (String, String);

/// The most series of a request: a node has some 400.
const MOST: usize = 4_000;

/// One request of all that `text` (format 0.0.4, our own) says, with these labels besides; how many values, and the body.
///
/// # Errors
/// Snappy's, for more than 4 GiB.
pub fn request(text: &str, moment: Time, more: &[(&str, &str)]) -> Result<(u64, Vec<u8>), snap::Error> {
    let millis = moment.micros().div_euclid(1_000);
    let (mut plain, mut count) = (Vec::new(), 0);
    for line in text.lines().filter(|line| !line.starts_with('#')).take(MOST) {
        let Some((mut labels, value)) = series(line) else { continue };
        labels.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        // Receivers want them sorted, and each once.
        labels.sort_unstable();
        labels.dedup_by(|later, earlier| later.0 == earlier.0);
        field(&mut plain, 1, &timeseries(&labels, value, millis));
        count += 1;
    }
    Ok((count, snap::raw::Encoder::new().compress_vec(&plain)?))
}

// `WriteRequest { repeated TimeSeries = 1 }`, `TimeSeries { repeated Label = 1; repeated Sample = 2 }`, `Label { string name = 1; string
// value = 2 }`, `Sample { double value = 1; int64 timestamp = 2 }`: four messages by hand, for a crate that derives them would bring
// another version of half of what macros rest on.

fn timeseries(labels: &[Label], value: f64, millis: i64) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in labels {
        let mut label = Vec::new();
        field(&mut label, 1, name.as_bytes());
        field(&mut label, 2, value.as_bytes());
        field(&mut out, 1, &label);
    }
    // A fixed 64-bit field, then a varint one, whose negative numbers take ten bytes.
    let mut sample = vec![1 << 3 | 1];
    sample.extend_from_slice(&value.to_le_bytes());
    sample.push(2 << 3);
    varint::put(&mut sample, millis.cast_unsigned());
    field(&mut out, 2, &sample);
    out
}

/// A field of bytes.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint::put(out, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(bytes);
}

/// `name{label="value",…} 1.5` as labels and value.
fn series(line: &str) -> Option<(Vec<Label>, f64)> {
    let at = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(at);
    let mut labels = vec![("__name__".to_owned(), name.to_owned())];
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (name, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.push((name.to_owned(), value));
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

    /// Fields of a message: number, and what is in it.
    fn fields(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut found = Vec::new();
        while let [key, rest @ ..] = bytes {
            let (length, rest) = match key & 7 {
                1 => (8, rest),
                // Shorter than 16 KiB: two bytes at most.
                2 if rest[0] < 0x80 => (usize::from(rest[0]), &rest[1..]),
                2 => (usize::from(rest[0] & 0x7f) | usize::from(rest[1]) << 7, &rest[2..]),
                _ => (rest.iter().position(|byte| *byte < 0x80).expect("an end") + 1, rest),
            };
            found.push((key >> 3, rest[..length].to_vec()));
            bytes = &rest[length..];
        }
        found
    }

    fn labels(series: &[u8]) -> String {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let all = fields(series).into_iter().filter(|(number, _)| *number == 1).map(|(_, label)| fields(&label));
        all.map(|label| format!("{}={}", text(&label[0].1), text(&label[1].1))).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn what_metrics_print_is_what_is_sent() {
        let text = "# HELP a_total x\n# TYPE a_total counter\na_total{way=\"http\",cache=\"hit\"} 3\nb 1.5\nc_bucket{le=\"+Inf\"} 7\nnonsense\nd{x=\"\\\"q\\\\\\n\"} NaN\ne{x=\"open\n";
        let more = [("instance", "abay-12"), ("job", "bulak")];
        let (count, body) = request(text, Time::from_micros(1_795_496_400_123_999), &more).expect("fits");
        let plain = snap::raw::Decoder::new().decompress_vec(&body).expect("a snappy block");
        let told: Vec<Vec<u8>> = fields(&plain).into_iter().map(|(_, series)| series).collect();
        assert_eq!((count, told.len()), (4, 4));
        assert_eq!(labels(&told[0]), "__name__=a_total,cache=hit,instance=abay-12,job=bulak,way=http");
        assert_eq!(labels(&told[2]), "__name__=c_bucket,instance=abay-12,job=bulak,le=+Inf");
        assert_eq!(labels(&told[3]), "__name__=d,instance=abay-12,job=bulak,x=\"q\\\n");
        let sample = |series: &[u8]| fields(&fields(series).pop().expect("a sample").1);
        assert_eq!(sample(&told[1])[0].1, 1.5_f64.to_le_bytes());
        let mut millis = Vec::new();
        varint::put(&mut millis, 1_795_496_400_123);
        assert_eq!(sample(&told[1])[1].1, millis);
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        // A series of 28 bytes: the label of 13, the sample of 11.
        let (_, body) = request("x 2\n", Time::from_micros(1_000), &[]).expect("fits");
        let plain = snap::raw::Decoder::new().decompress_vec(&body).expect("a snappy block");
        let wanted = b"\x0a\x1c\x0a\x0d\x0a\x08__name__\x12\x01x\x12\x0b\x09\x00\x00\x00\x00\x00\x00\x00\x40\x10\x01";
        assert_eq!(plain, wanted);
    }
}
