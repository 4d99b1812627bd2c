//! A page and a style sheet of a mirrored site, in the pieces in which the store gives them.

use crate::pieces::Operation;
use crate::prose;
use bulak::base::target::Target;
use bulak::site::Sites;
use bulak::site::pack::Pack;
use bulak::site::rewrite::{Form, Kind, Map, Place, Rewriter};
use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;

const PACK: &str = "id = \"one\"\nversion = \"1\"\nlicence = \"x\"\n[title]\nen = \"x\"\n[[seed]]\nurl = \"https://a.kz/\"\n\
                    [scope]\nhosts = [\"a.kz\", \"*.cdn.kz\"]\n";
/// Paragraphs and rules: some 60 kB of a page, 20 kB of a style sheet.
const PARTS: u64 = 100;
/// Prose between links, in bytes.
const PROSE: usize = 300;
/// Bytes at a time.
const PIECE: usize = 16 << 10;

pub(super) fn html(_: u64) -> Operation {
    let mut page = String::from("<!doctype html><html lang=kk><head><meta charset=utf-8><title>x</title></head><body>");
    for part in 0..PARTS {
        let text = String::from_utf8_lossy(&prose::page(part, PROSE)).into_owned();
        write!(
            page,
            "<p class=a><a href=\"https://a.kz/lessons/{part}.html?grade=7\">{text}</a> <a href=/{part}>x</a> <a href=\"//real.kz/{part}\">x</a>\
             <img src=\"https://i.cdn.kz/{part}.png\" srcset=\"https://i.cdn.kz/{part}.png 1x, ../{part}-2.png 2x\" alt=x>\
             <span style=\"background: url(https://i.cdn.kz/{part}.svg)\"></span></p>"
        )
        .expect("memory");
    }
    rewrite(Kind::Html, "https://a.kz/lessons/index.html", page)
}

pub(super) fn css(_: u64) -> Operation {
    let mut sheet = String::from("@charset \"utf-8\"; @import url(https://i.cdn.kz/base.css);\n");
    for part in 0..PARTS {
        write!(
            sheet,
            ".part-{part} > a:hover {{ color: #0a{part:02}; margin: 0 auto 1em; background: url(\"https://i.cdn.kz/{part}.png\") no-repeat }}\n\
             @font-face {{ font-family: \"f{part}\"; src: url(/fonts/{part}.woff2) format(\"woff2\") }}\n"
        )
        .expect("memory");
    }
    rewrite(Kind::Style, "https://a.kz/style.css", sheet)
}

fn rewrite(kind: Kind, url: &str, text: String) -> Operation {
    let pack = Arc::new(Pack::parse(PACK).expect("a good pack"));
    let place = Place { zone: String::from("m.s.internal"), secure: false, port: 8082 };
    let map = Arc::new(Map::new(Arc::new(Sites::new(&[pack])), Form::Path, place));
    let target = Target::parse(url).expect("a URL");
    Box::new(move || {
        let (mut rewriter, mut out) = (Rewriter::new(&map, kind, &target), Vec::new());
        for piece in text.as_bytes().chunks(PIECE) {
            rewriter.write(piece, &mut out).expect("memory");
        }
        rewriter.finish(&mut out).expect("memory");
        assert!(black_box(out) != text.as_bytes(), "links have been changed");
    })
}
