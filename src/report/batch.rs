//! Sealed records on the wire: each with its length (u32, little-endian) before it, all of it zstd, named by its SHA-256
//! (`Content-Digest`, RFC 9530). Pure; both ends use it.

use sfv::{BareItem, DictSerializer, Dictionary, KeyRef, ListEntry, Parser};
use sha2::{Digest, Sha256};
use std::io::Read;

/// Largest upload, compressed.
pub const MOST_BYTES: usize = 1 << 20;

/// Largest upload, unpacked: 4,096 records of 4 kB, so a bomb costs the hub 16 MiB at worst.
pub const MOST_UNPACKED: usize = 16 << 20;

/// Most records of one upload.
pub const MOST_RECORDS: usize = 4_096;

/// Largest sealed record: an hour takes 3 kB with every field filled in.
pub const MOST_RECORD: usize = 64 << 10;

/// The media type of an upload.
pub const MEDIA_TYPE: &str = "application/vnd.bulak.reports";

/// Why an upload cannot be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// Not zstd, or broken off.
    #[error("the body is not whole zstd data")]
    Compression,
    /// See [`MOST_UNPACKED`].
    #[error("the body unpacks to more than 16 MiB")]
    Large,
    /// A length that points outside, or trailing bytes.
    #[error("the body is not made of records with their lengths")]
    Framing,
    /// See [`MOST_RECORDS`].
    #[error("the body holds more than 4096 records")]
    Many,
}

/// Packs sealed records.
///
/// # Errors
/// Only when zstd has no memory.
pub fn pack<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    for record in records {
        let length = u32::try_from(record.len()).map_err(std::io::Error::other)?;
        plain.extend_from_slice(&length.to_le_bytes());
        plain.extend_from_slice(record);
    }
    // 9: an hourly upload is a few kB, where level hardly costs and always spares line.
    zstd::bulk::compress(&plain, 9)
}

/// Unpacks an upload into sealed records. Never takes more memory than [`MOST_UNPACKED`] and a window of 8 MiB.
///
/// # Errors
/// See [`Bad`].
pub fn unpack(body: &[u8]) -> Result<Vec<Vec<u8>>, Bad> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(|_| Bad::Compression)?;
    // 2^23 = 8 MiB, what RFC 8878 section 3.1.1.1.2 asks every decoder to support.
    decoder.window_log_max(23).map_err(|_| Bad::Compression)?;
    let mut plain = Vec::new();
    let limit = u64::try_from(MOST_UNPACKED).unwrap_or(u64::MAX) + 1;
    decoder.take(limit).read_to_end(&mut plain).map_err(|_| Bad::Compression)?;
    if plain.len() > MOST_UNPACKED {
        return Err(Bad::Large);
    }
    let mut records = Vec::new();
    let mut rest = plain.as_slice();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or(Bad::Framing)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Bad::Framing)?;
        let (record, after) = after.split_at_checked(length).ok_or(Bad::Framing)?;
        if records.len() == MOST_RECORDS {
            return Err(Bad::Many);
        }
        records.push(record.to_vec());
        rest = after;
    }
    Ok(records)
}

/// The value of `Content-Digest` for these bytes.
pub fn digest(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    let mut field = DictSerializer::new();
    if let Ok(name) = KeyRef::from_str("sha-256") {
        field.bare_item(name, sum.as_slice());
    }
    field.finish().unwrap_or_default()
}

/// Whether `Content-Digest` names exactly these bytes. Other algorithms may stand beside it.
pub fn digest_fits(field: &str, bytes: &[u8]) -> bool {
    let Ok(digests) = Parser::new(field).parse::<Dictionary>() else {
        return false;
    };
    match digests.get("sha-256") {
        Some(ListEntry::Item(item)) => {
            matches!(&item.bare_item, BareItem::ByteSequence(told) if told.as_slice() == Sha256::digest(bytes).as_slice())
        }
        _ => false,
    }
}

/// For a corpus of broken uploads: must never panic.
pub fn fuzz(bytes: &[u8]) {
    if let Ok(records) = unpack(bytes) {
        assert!(records.len() <= MOST_RECORDS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_unpacks_and_what_is_broken_is_named() {
        let records: Vec<Vec<u8>> = vec![vec![1; 100], vec![], vec![3; 5_000]];
        let packed = pack(records.iter().map(Vec::as_slice)).expect("packs");
        assert_eq!(unpack(&packed), Ok(records));
        assert_eq!(unpack(&pack([]).expect("packs")), Ok(vec![]));

        let plain = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).expect("packs");
        let table = [
            ("no zstd", b"hello".to_vec(), Bad::Compression),
            ("broken off", packed[..packed.len() - 3].to_vec(), Bad::Compression),
            ("half a length", plain(&[1, 0]), Bad::Framing),
            ("a length that lies", plain(&[9, 0, 0, 0, 1]), Bad::Framing),
            ("a huge length", plain(&[255, 255, 255, 255]), Bad::Framing),
            ("too many", plain(&vec![0; 4 * (MOST_RECORDS + 1)]), Bad::Many),
            ("a bomb", plain(&vec![0; MOST_UNPACKED + 1]), Bad::Large),
        ];
        for (name, body, wanted) in table {
            assert_eq!(unpack(&body), Err(wanted), "{name}");
        }
        for cut in 0..packed.len() {
            fuzz(&packed[..cut]);
            let mut broken = packed.clone();
            broken[cut] ^= 0x55;
            fuzz(&broken);
        }
    }

    #[test]
    fn incompressible_batches_stay_below_the_limit() {
        let mut noise = vec![0_u8; 1_000_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        assert!(pack([noise.as_slice()]).expect("packs").len() < MOST_BYTES);
    }

    #[test]
    fn digests_as_rfc_9530_writes_them() {
        // Appendix B.1 of the RFC, with its JSON body.
        let body = b"{\"hello\": \"world\"}\n";
        let field = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
        assert_eq!(digest(body), field);
        assert!(digest_fits(field, body));
        assert!(digest_fits(&format!("md5=:AAAA:, {field}"), body));
        for wrong in ["", "sha-256=:AAAA:", "sha-512=:AAAA:", "sha-256", "sha-256=:!", "sha-256=(1 2)"] {
            assert!(!digest_fits(wrong, body), "{wrong}");
        }
        assert!(!digest_fits(field, b"other"));
    }
}
