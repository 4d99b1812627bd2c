//! Other forms than decoded in which a small body can go out: the zstd frame that is kept on disk, as it is, and gzip made here.
//! Each is made when somebody first asks for it, verified by unpacking, and kept beside the body while that is in memory.

use crate::base::arena::Arena;
use crate::base::digest::Digest;
use crate::store::keep::LOOKS;
use crate::store::record::{Codec, Kind, ONE_FRAME_MAX};
use crate::store::recover::url_key;
use crate::store::table::Place;
use crate::store::{Entry, Error, Inner, Store};
use bytes::Bytes;
use flate2::write::GzEncoder;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use zstd::zstd_safe;

/// Forms of a body beside its decoded bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One zstd frame with a window that every client must take.
    Zstd,
    /// gzip.
    Gzip,
}

/// What is known of a body's forms: nothing yet, that there is none, or its bytes.
#[derive(Debug, Default)]
pub struct Forms([OnceLock<Option<Bytes>>; 2]);

impl Forms {
    /// What is known of one.
    pub fn of(&self, form: Form) -> &OnceLock<Option<Bytes>> {
        &self.0[form as usize]
    }

    /// Those that are in memory.
    pub(crate) fn made(&self) -> impl Iterator<Item = &Bytes> {
        self.0.iter().filter_map(|form| form.get()?.as_ref())
    }
}

/// The largest window that a client must take, and so the largest that is sent (RFC 9659 section 3).
const WINDOW_MAX: u64 = 8 << 20;
/// A gzip body is worth its name when it is no more than this share of the body, in percent.
const WORTH: usize = 90;
/// zlib's fastest: about 100 MB/s on a PC's core, once for a body in memory; slower levels would keep a weak box from its class.
const LEVEL: u32 = 1;

impl Store {
    /// An entry's body in another form; `None` when it has none: too large, kept in another way, or no smaller for it. gzip is made
    /// for bodies in memory only, so that none is made twice in a row. May be dropped at any await.
    ///
    /// # Errors
    /// `Disk`.
    pub async fn form(&self, entry: &Arc<Entry>, form: Form) -> Result<Option<Bytes>, Error> {
        if let Some(known) = entry.forms.of(form).get() {
            return Ok(known.clone());
        }
        let entry = Arc::clone(entry);
        self.0.run(move |inner| inner.form(&entry, form)).await
    }

    /// Where the larger bodies in memory lie, for whoever writes to a socket; `None` where the kernel has no such room.
    pub fn bodies(&self) -> Option<Arena> {
        self.0.hot.bodies().cloned()
    }
}

impl Inner {
    fn form(&self, entry: &Arc<Entry>, form: Form) -> Result<Option<Bytes>, Error> {
        let Some(object) = entry.object.filter(|_| entry.length <= ONE_FRAME_MAX) else { return Ok(None) };
        // A class that asks at once waits for one.
        let _one = self.object_lock(&object);
        if let Some(known) = entry.forms.of(form).get() {
            return Ok(known.clone());
        }
        let made = match (form, &entry.body) {
            (Form::Zstd, _) => self.frame(entry, &object)?,
            (Form::Gzip, Some(body)) => gzip(body)?,
            (Form::Gzip, None) => None,
        };
        let made = made.map(|bytes| self.hot.settle(bytes));
        if entry.body.is_some() {
            let known = entry.forms.of(form).get_or_init(|| made.clone());
            if known.is_some() {
                self.remember(&self.hot.reweigh(&url_key(&entry.meta.url), entry));
            }
        }
        Ok(made)
    }

    /// The frame on disk, when the body is kept as one that a client can take. Damage is left for whoever reads the body to find.
    fn frame(&self, entry: &Entry, object: &Digest) -> io::Result<Option<Bytes>> {
        let mut looked = None;
        for _ in 0..LOOKS {
            let blob = self.log.table().read().blob(object).filter(|blob| blob.codec == Codec::Zstd);
            // Otherwise it has been moved meanwhile.
            let Some(place) = blob.map(|blob| blob.place).filter(|place| looked != Some(*place)) else { break };
            looked = Some(place);
            match self.frame_at(entry, object, place) {
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => return done,
            }
        }
        Ok(None)
    }

    fn frame_at(&self, entry: &Entry, object: &Digest, place: Place) -> io::Result<Option<Bytes>> {
        let Some((header, file)) = self.log.header(place, Kind::Blob)? else { return Ok(None) };
        let fits = header.key == object.0 && header.codec == Codec::Zstd && header.extra == entry.length && header.length < entry.length;
        if !fits {
            return Ok(None);
        }
        let mut frame = vec![0; usize::try_from(header.length).map_err(io::Error::other)?];
        file.read_at(&mut frame, header.payload_at(place.at))?;
        let length = usize::try_from(entry.length).map_err(io::Error::other)?;
        if crc32c::crc32c(&frame) != header.crc || !is_for_clients(&frame) {
            return Ok(None);
        }
        let holds = zstd::bulk::decompress(&frame, length).is_ok_and(|body| Digest::of(&body) == *object);
        Ok(holds.then(|| Bytes::from(frame)))
    }
}

/// Whether these bytes are exactly one frame, without a dictionary, with a window that clients take.
fn is_for_clients(frame: &[u8]) -> bool {
    let whole = zstd_safe::find_frame_compressed_size(frame).is_ok_and(|length| length == frame.len());
    whole && window(frame).is_some_and(|window| window <= WINDOW_MAX)
}

/// The window of a frame in bytes (RFC 8878 section 3.1.1.1); `None` when it needs a dictionary or is no frame.
fn window(frame: &[u8]) -> Option<u64> {
    let (marks, rest) = frame.strip_prefix(&[0x28, 0xb5, 0x2f, 0xfd])?.split_first()?;
    if marks & 3 != 0 {
        return None;
    }
    if marks & 0x20 != 0 {
        // One segment: the window is the content.
        return zstd_safe::get_frame_content_size(frame).ok()?;
    }
    let (exponent, mantissa) = (rest.first()? >> 3, u64::from(rest.first()? & 7));
    let base = 1_u64 << (10 + exponent);
    Some(base + base / 8 * mantissa)
}

fn gzip(body: &[u8]) -> io::Result<Option<Bytes>> {
    let mut coder = GzEncoder::new(Vec::with_capacity(body.len() / 2), flate2::Compression::new(LEVEL));
    coder.write_all(body)?;
    let mut coded = coder.finish()?;
    coded.shrink_to_fit();
    Ok((coded.len() <= body.len() / 100 * WORTH).then(|| Bytes::from(coded)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::kit::{meta, open, text};
    use std::io::Read;

    #[test]
    fn windows_are_read_from_the_frame() {
        let body = text(1, 300_000);
        let plain = zstd::bulk::compress(&body, 3).unwrap();
        assert_eq!(window(&plain), Some(300_000), "one segment");
        // As a stream: a window of its own, 27 is what a browser refuses.
        for (log, fits) in [(20, true), (23, true), (24, false), (27, false)] {
            let mut coder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
            coder.window_log(log).unwrap();
            coder.write_all(&body).unwrap();
            let frame = coder.finish().unwrap();
            assert_eq!(window(&frame), Some(1 << log));
            assert_eq!(is_for_clients(&frame), fits, "{log}");
        }
        let two = [&plain[..], &plain[..]].concat();
        assert!(is_for_clients(&plain) && !is_for_clients(&two) && !is_for_clients(&plain[..plain.len() - 1]));
        for end in 0..20 {
            assert!(!is_for_clients(&plain[..end]));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_frame_goes_out_as_it_is_kept_and_weighs_in_the_hot_tier() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let body = text(2, 200_000);
        let mut draft = store.begin(None, Some("text/html")).unwrap();
        draft.write(Bytes::from(body.clone())).await.unwrap();
        let entry = draft.commit(meta("http://a.kz/")).await.unwrap();
        let before = store.stat().hot_bytes;
        let frame = store.form(&entry, Form::Zstd).await.unwrap().expect("kept as a frame");
        assert_eq!(zstd::bulk::decompress(&frame, body.len()).unwrap(), body);
        let packed = store.form(&entry, Form::Gzip).await.unwrap().expect("text");
        let mut again = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut again).unwrap();
        assert!(again == body && packed.len() > frame.len() / 2);
        let held =
            |bytes: &Bytes| store.bodies().filter(|room| room.place(bytes).is_some()).map_or(bytes.len(), |room| room.weight(bytes.len()));
        assert_eq!(store.stat().hot_bytes, before + (held(&frame) + held(&packed)) as u64);
        let known = entry.forms.of(Form::Zstd).get().cloned().flatten();
        assert_eq!(known.map(|bytes| bytes.as_ptr()), Some(frame.as_ptr()), "made once");
        // Moved: where it was is nothing, and it is looked up again.
        let object = Digest::of(&body);
        let was = store.0.log.table().read().blob(&object).unwrap().place;
        store.0.log.close().unwrap();
        store.0.rewrite(&[was.segment], None).unwrap();
        assert!(!matches!(store.0.frame_at(&entry, &object, was), Ok(Some(_))));
        assert_eq!(store.0.frame(&entry, &object).unwrap(), Some(frame));
        store.close().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_kept_raw_has_no_frame() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let mut draft = store.begin(None, Some("image/png")).unwrap();
        draft.write(Bytes::from(text(3, 100_000))).await.unwrap();
        let entry = draft.commit(meta("http://a.kz/p.png")).await.unwrap();
        assert_eq!(store.form(&entry, Form::Zstd).await.unwrap(), None);
        assert!(entry.forms.of(Form::Zstd).get().is_some(), "known from now on");
        store.close().await.unwrap();
    }
}
