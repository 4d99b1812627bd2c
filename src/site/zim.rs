//! ZIM files (openzim.org): a library of pages in one file, as Kiwix has them. Here are the shapes of its parts; reading the file is the
//! business of `cache/archive.rs`.
//!
//! # Why
//!
//! A reader of our own: a page costs some twenty look-ups at known places, read from a file or from the store alike. The crate for it
//! (`zim` 0.5) maps the whole file into memory, so a damaged disk would be a signal, not an error, and what lies in the store has no
//! file to map.

/// Clusters of older files.
mod xz;

use std::ops::Range;

/// Length of the header.
pub const HEADER: u64 = 80;
/// Longest list of media types.
pub const MAX_TYPES: u64 = 64 << 10;
/// Longest entry: two texts of 2 KiB and what stands before them.
pub const MAX_ENTRY: u64 = 4200;
/// Largest cluster after unpacking; writers make them 2 MiB, and larger ones where a single page is.
pub const MAX_CLUSTER: usize = 64 << 20;
/// Says that an entry is a redirect.
const REDIRECT: u16 = 0xffff;
/// Kinds without a body, of files older than anybody's.
const LINK: u16 = 0xfffe;
const DELETED: u16 = 0xfffd;

/// What stands at the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Tells files apart.
    pub uuid: [u8; 16],
    /// Pages have the name space `C`; before, each kind had its own, which is a part of its address.
    pub is_new: bool,
    /// How many entries.
    pub entries: u32,
    /// How many clusters.
    pub clusters: u32,
    /// Where the places of entries stand, in the order of their paths.
    pub entry_list: u64,
    /// Where the places of clusters stand.
    pub cluster_list: u64,
    /// Where the media types stand.
    pub types: u64,
    /// The number of the entry that a reader begins with.
    pub main: Option<u32>,
    /// Where the last cluster ends at the latest.
    pub end: u64,
}

impl Header {
    /// From the first 80 bytes; `length` is that of the file.
    pub fn parse(bytes: &[u8], length: u64) -> Option<Header> {
        if u32_at(bytes, 0)? != 0x044d_495a {
            return None;
        }
        let main = u32_at(bytes, 64)?;
        let (major, minor) = (u16_at(bytes, 4)?, u16_at(bytes, 6)?);
        let header = Header {
            uuid: bytes.get(8..24)?.try_into().ok()?,
            is_new: minor >= 1,
            entries: u32_at(bytes, 24)?,
            clusters: u32_at(bytes, 28)?,
            entry_list: u64_at(bytes, 32)?,
            cluster_list: u64_at(bytes, 48)?,
            types: u64_at(bytes, 56)?,
            main: (main != u32::MAX).then_some(main),
            end: u64_at(bytes, 72)?.min(length),
        };
        let lies_within = |start: u64, count: u32| start.checked_add(u64::from(count) * 8).is_some_and(|end| end <= length);
        let sound = (5..=6).contains(&major)
            && lies_within(header.entry_list, header.entries)
            && lies_within(header.cluster_list, header.clusters)
            && header.types < length;
        sound.then_some(header)
    }
}

/// The media types, in order.
pub fn types(bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for text in bytes.split(|byte| *byte == 0) {
        if text.is_empty() {
            break;
        }
        found.push(String::from_utf8_lossy(text).into_owned());
    }
    found
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name space.
    pub space: u8,
    /// Its path, in whatever bytes.
    pub path: Vec<u8>,
    /// What it is.
    pub what: What,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A body.
    Blob {
        /// Which media type.
        kind: u16,
        /// In which cluster.
        cluster: u32,
        /// Which of it.
        blob: u32,
    },
    /// Another entry's number.
    Redirect(u32),
}

impl Entry {
    /// From the bytes at its place.
    pub fn parse(bytes: &[u8]) -> Option<Entry> {
        let what = match u16_at(bytes, 0)? {
            REDIRECT => What::Redirect(u32_at(bytes, 8)?),
            LINK | DELETED => return None,
            kind => What::Blob { kind, cluster: u32_at(bytes, 8)?, blob: u32_at(bytes, 12)? },
        };
        let (space, path) = key(bytes)?;
        bytes.get(path_at(bytes)? + path.len())?;
        Some(Entry { space, path: path.to_vec(), what })
    }
}

/// What the list of entries is sorted by, from the bytes at an entry's place: name space and path. Told even of an entry that is no
/// entry otherwise, so that its neighbours are found.
pub fn key(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let path = bytes.get(path_at(bytes)?..)?;
    Some((*bytes.get(3)?, path.split(|byte| *byte == 0).next()?))
}

fn path_at(bytes: &[u8]) -> Option<usize> {
    Some(match u16_at(bytes, 0)? {
        REDIRECT => 12,
        LINK | DELETED => 8,
        _ => 16,
    })
}

/// How clusters are packed, in the lower half of their first byte; zstd since 2021.
const LZMA2: u8 = 4;
const ZSTD: u8 = 5;

/// How a cluster is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// As LZMA2 or zstd, or not at all.
    pub is_packed: bool,
    /// Offsets have eight bytes instead of four.
    is_wide: bool,
}

impl Cluster {
    /// From its first byte; `None`: packed in a way that is not read here.
    pub fn parse(byte: u8) -> Option<Cluster> {
        let is_packed = match byte & 0x0f {
            0 | 1 => false,
            LZMA2 | ZSTD => true,
            _ => return None,
        };
        Some(Cluster { is_packed, is_wide: byte & 0x10 != 0 })
    }

    /// Where the two offsets stand that hold a blob, counted from behind the first byte.
    pub fn offsets(self, blob: u32) -> Range<u64> {
        let size = if self.is_wide { 8 } else { 4 };
        let start = u64::from(blob) * size;
        start..start + 2 * size
    }

    /// Where the blob lies, from the bytes at [`Cluster::offsets`] and at the beginning (the first offset tells how many there are).
    pub fn blob(self, first: &[u8], offsets: &[u8], blob: u32) -> Option<Range<u64>> {
        let size: usize = if self.is_wide { 8 } else { 4 };
        let at = |bytes: &[u8], place: usize| if self.is_wide { u64_at(bytes, place) } else { u32_at(bytes, place).map(u64::from) };
        let count = at(first, 0)? / size as u64;
        let range = at(offsets, 0)?..at(offsets, size)?;
        (u64::from(blob) + 1 < count && range.start <= range.end && range.start >= count * size as u64).then_some(range)
    }
}

/// Unpacks a cluster, at most [`MAX_CLUSTER`] bytes of it, behind its `first` byte.
///
/// # Errors
/// When it is damaged.
pub fn unpack(packed: &[u8], first: u8) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let (mut plain, most) = (vec![first], u32::try_from(MAX_CLUSTER).unwrap_or(u32::MAX));
    if first & 0x0f == LZMA2 {
        xz::unpack(packed, &mut plain, most)?;
    } else {
        zstd::Decoder::new(packed)?.single_frame().take(u64::from(most)).read_to_end(&mut plain)?;
    }
    Ok(plain)
}

/// Where an address on the file's host leads: name space and path.
pub fn place(header: &Header, path: &str) -> Option<(u8, Vec<u8>)> {
    let path = percent_decode(path.strip_prefix('/')?);
    if header.is_new {
        return Some((b'C', path));
    }
    match path.as_slice() {
        [space, b'/', rest @ ..] if space.is_ascii_alphabetic() || *space == b'-' => Some((*space, rest.to_vec())),
        _ => Some((b'A', path)),
    }
}

/// The address of an entry on its file's host. A path may begin with a slash, and two of them would lead to another host.
pub fn address(header: &Header, entry: &Entry) -> String {
    let mut address = String::from("/");
    let mut push = |byte: u8, plain: &[u8]| {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            address.push(char::from(byte));
        } else {
            address.extend(percent(byte));
        }
    };
    if !header.is_new {
        push(entry.space, b"-");
        push(b'/', b"/");
    }
    for (at, byte) in entry.path.iter().enumerate() {
        push(*byte, if at == 0 { b"-._~!$&'()*+,;=:@" } else { b"-._~!$&'()*+,;=:@/" });
    }
    address
}

fn percent(byte: u8) -> [char; 3] {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0').to_ascii_uppercase();
    ['%', digit(byte >> 4), digit(byte & 15)]
}

fn percent_decode(text: &str) -> Vec<u8> {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while at < bytes.len() {
        let code = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%').and_then(|code| u8::from_str_radix(code, 16).ok());
        out.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    out
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// The host name under which a file is read: from its name, without the date of its edition.
pub fn host(file: &str) -> Option<String> {
    let stem = file.rsplit('/').next()?.split(['?', '#']).next()?;
    let stem = stem.strip_suffix(".zim").or_else(|| stem.strip_suffix(".ZIM")).unwrap_or(stem);
    let dated = stem.rfind('_').filter(|at| is_date(&stem[at + 1..]));
    let name: String = stem[..dated.unwrap_or(stem.len())]
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
        .take(59)
        .collect();
    let name = name.trim_matches('-');
    (!name.is_empty()).then(|| format!("{name}.zim"))
}

/// `2024-06` or `2024-06-30`.
fn is_date(text: &str) -> bool {
    matches!(text.len(), 7 | 10) && text.starts_with("20") && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

/// For the fuzzing corpus: any bytes as any part, no panic.
pub fn fuzz(bytes: &[u8]) {
    let header = Header::parse(bytes, bytes.len() as u64);
    std::hint::black_box(types(bytes));
    if let (Some(header), Some(entry)) = (&header, Entry::parse(bytes)) {
        std::hint::black_box(address(header, &entry));
    }
    if let (Some(cluster), Some(rest)) = (bytes.first().and_then(|byte| Cluster::parse(*byte)), bytes.get(1..)) {
        let offsets = cluster.offsets(0);
        let part = usize::try_from(offsets.start).ok().zip(usize::try_from(offsets.end).ok()).and_then(|(start, end)| rest.get(start..end));
        std::hint::black_box(part.and_then(|part| cluster.blob(rest, part, 0)));
        if cluster.is_packed {
            std::hint::black_box(unpack(rest, bytes[0]).is_ok());
        }
    }
    std::hint::black_box(host(&String::from_utf8_lossy(bytes)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(is_new: bool) -> Vec<u8> {
        let mut bytes = vec![0; 80];
        bytes[..4].copy_from_slice(&0x044d_495a_u32.to_le_bytes());
        bytes[4] = 6;
        bytes[6] = u8::from(is_new);
        bytes[24] = 2;
        bytes[28] = 1;
        bytes[32] = 80;
        bytes[48] = 96;
        bytes[56] = 80;
        bytes[72] = 200;
        bytes
    }

    #[test]
    fn headers() {
        let good = Header::parse(&header(true), 300).expect("a header");
        assert_eq!((good.entries, good.clusters, good.main, good.end, good.is_new), (2, 1, Some(0), 200, true));
        for (at, byte) in [(0, 0), (4, 9), (35, 0x7f), (39, 0xff), (27, 0xff), (63, 0xff)] {
            let mut bytes = header(true);
            bytes[at] = byte;
            assert_eq!(Header::parse(&bytes, 300), None, "{at}");
        }
        assert_eq!(Header::parse(&header(true)[..70], 300), None);
    }

    #[test]
    fn entries_and_their_addresses() {
        let mut bytes = vec![3, 0, 0, b'C', 0, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0];
        bytes.extend_from_slice("Абай?x/1.html\0Title\0".as_bytes());
        let entry = Entry::parse(&bytes).expect("an entry");
        assert_eq!(entry.what, What::Blob { kind: 3, cluster: 7, blob: 9 });
        let (new, old) = (Header::parse(&header(true), 300).expect("good"), Header::parse(&header(false), 300).expect("good"));
        assert_eq!(address(&new, &entry), "/%D0%90%D0%B1%D0%B0%D0%B9%3Fx/1.html");
        assert_eq!(place(&new, &address(&new, &entry)), Some((b'C', entry.path.clone())));
        assert_eq!(place(&old, "/I/a%20b.png"), Some((b'I', b"a b.png".to_vec())));
        assert_eq!(place(&old, "/Almaty"), Some((b'A', b"Almaty".to_vec())));
        let mut moved = vec![0xff, 0xff, 0, b'C', 0, 0, 0, 0, 5, 0, 0, 0];
        moved.extend_from_slice(b"old\0\0");
        assert_eq!(Entry::parse(&moved).expect("an entry").what, What::Redirect(5));
        assert_eq!((Entry::parse(&moved[..14]), key(&moved[..14])), (None, Some((b'C', &b"ol"[..]))));
        let gone = [0xfd, 0xff, 0, b'C', 0, 0, 0, 0, b'x', 0xff, 0];
        assert_eq!((Entry::parse(&gone), key(&gone)), (None, Some((b'C', &b"x\xff"[..]))));
    }

    #[test]
    fn no_entry_leads_to_another_host() {
        let (new, old) = (Header::parse(&header(true), 300).expect("good"), Header::parse(&header(false), 300).expect("good"));
        let of = |space, path: &[u8]| Entry { space, path: path.to_vec(), what: What::Redirect(0) };
        for (header, entry, wanted) in [
            (&new, of(b'C', b"/evil.kz/x"), "/%2Fevil.kz/x"),
            (&new, of(b'C', b"\\evil.kz"), "/%5Cevil.kz"),
            (&new, of(b'C', b"a//b\xff"), "/a//b%FF"),
            (&old, of(b'A', b"/evil.kz"), "/A/%2Fevil.kz"),
            (&old, of(b'/', b"evil.kz"), "/%2F/evil.kz"),
        ] {
            assert_eq!(address(header, &entry), wanted);
        }
        assert_eq!(place(&new, "/%2Fevil.kz/x"), Some((b'C', b"/evil.kz/x".to_vec())));
    }

    #[test]
    fn clusters() {
        let plain = Cluster::parse(1).expect("known");
        let body = [12, 0, 0, 0, 15, 0, 0, 0, 17, 0, 0, 0, b'a', b'b', b'c', b'd', b'e'];
        assert_eq!(plain.offsets(1), 4..12);
        assert_eq!(plain.blob(&body, &body[4..12], 1), Some(15..17));
        // There is no third one, and no blob begins within the offsets.
        assert_eq!(plain.blob(&body, &body[8..16], 2), None);
        assert_eq!(plain.blob(&body, &[3, 0, 0, 0, 9, 0, 0, 0], 0), None);
        assert!(Cluster::parse(4).expect("LZMA2").is_packed);
        assert_eq!((Cluster::parse(2), Cluster::parse(3)), (None, None), "gzip and bzip2 were never written");
        let packed = zstd::encode_all(&body[..], 3).expect("packs");
        assert_eq!(unpack(&packed, 5).expect("unpacks"), [&[5], &body[..]].concat());
        let bomb = zstd::encode_all(&vec![0; MAX_CLUSTER + 5][..], 3).expect("packs");
        assert_eq!(unpack(&bomb, 5).expect("unpacks").len(), 1 + MAX_CLUSTER);
        assert!(unpack(&packed[..8], 5).is_err());
        for end in 0..body.len() {
            fuzz(&body[..end]);
        }
        fuzz(&header(true));
    }

    #[test]
    fn names_of_files_are_names_of_hosts() {
        for (file, wanted) in [
            ("/srv/zim/wikipedia_kk_all_nopic_2024-06.zim", Some("wikipedia-kk-all-nopic.zim")),
            ("https://dl.kz/phet_mul_2024-06-30.zim?x=1", Some("phet-mul.zim")),
            ("Python.ZIM", Some("python.zim")),
            ("/srv/___.zim", None),
        ] {
            assert_eq!(host(file).as_deref(), wanted, "{file}");
        }
    }
}
