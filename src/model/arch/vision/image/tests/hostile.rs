//! Images that lie, end too early or are none: each is refused in words, and none panics.

use super::super::Encoded;
use super::decode;
use super::pictures::{KNOWN, crc};

fn known(name: &str) -> Vec<u8> {
    KNOWN.iter().find(|(known, ..)| *known == name).expect("a picture").1.to_vec()
}

fn told(bytes: &[u8]) -> String {
    decode(bytes).expect_err("refused")
}

/// Where a JPEG's marker begins.
fn marker(bytes: &[u8], code: u8) -> usize {
    bytes.windows(2).position(|pair| pair == [0xff, code]).expect("a marker")
}

/// Bytes between two that are tried: all of a few pictures, and some of the others, which would take long.
fn step(name: &str) -> usize {
    if matches!(name, "420_two_wide.jpg" | "rgb_8.png" | "interlaced.png") { 1 } else { 41 }
}

/// A PNG of this header, with the data of another.
fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = known("rgb_8.png");
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let sum = crc(&bytes[12..29]).to_be_bytes();
    bytes[29..33].copy_from_slice(&sum);
    bytes
}

#[test]
fn other_formats_are_refused_by_name() {
    let others: [(&[u8], &str); 9] = [
        (b"", "no bytes"),
        (b"GIF89a....", "a GIF"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "a WebP"),
        (b"II*\0....", "a TIFF"),
        (b"MM\0*....", "a TIFF"),
        (b"BM......", "a BMP"),
        (b"\0\0\0\x1cftypheic", "a HEIF, AVIF or video"),
        (b"\0\0\0\x0cjP  ", "a JPEG 2000"),
        (b"not a picture at all", "something else"),
    ];
    for (bytes, name) in others {
        assert_eq!(told(bytes), format!("expected a JPEG or PNG, got {name}"));
    }
}

#[test]
fn what_is_cut_short_is_refused_wherever_it_ends() {
    for (name, bytes, ..) in KNOWN {
        for end in (0..bytes.len()).step_by(step(name)) {
            // The last bytes of a PNG only say that it ends.
            let is_whole = bytes.starts_with(b"\x89PNG") && end + 12 > bytes.len();
            let refused = decode(&bytes[..end]).is_err();
            assert!(refused || is_whole, "{name} cut at {end} of {}", bytes.len());
        }
    }
    assert_eq!(told(&known("444.jpg")[..300]), "JPEG: it is cut short");
    assert_eq!(told(&known("rgb_8.png")[..40]), "PNG: it is cut short");
}

#[test]
fn what_is_damaged_is_refused_or_answered() {
    for (name, bytes, ..) in KNOWN {
        for at in (0..bytes.len()).step_by(step(name)) {
            for change in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= change;
                // Some sides become so large that it would take long.
                if Encoded::read(&damaged).is_ok_and(|encoded| encoded.bytes() < 1 << 20) {
                    let _either_way = decode(&damaged);
                }
            }
        }
    }
    let mut sum = known("rgb_8.png");
    let at = sum.len() - 14;
    sum[at] ^= 1;
    assert!(told(&sum).starts_with("PNG: it is damaged: CRC error"), "{}", told(&sum));
}

#[test]
fn sides_are_limited_before_anything_is_decoded() {
    let most = "pixels; expected sides of at most 65535 and at most 67108864 in all";
    assert_eq!(told(&png(60_000, 60_000)), format!("60000 x 60000 {most}"));
    assert_eq!(told(&png(70_000, 1)), format!("70000 x 1 {most}"));
    assert!(told(&png(0, 7)).starts_with("PNG: it is damaged: "));
    assert!(told(&png(u32::MAX, 1)).starts_with("PNG: it is damaged: "));
    let mut jpeg = known("444.jpg");
    let sides = marker(&jpeg, 0xc0) + 5;
    jpeg[sides..sides + 4].copy_from_slice(&[0xff; 4]);
    assert_eq!(told(&jpeg), format!("65535 x 65535 {most}"));
    jpeg[sides..sides + 4].copy_from_slice(&[0; 4]);
    assert_eq!(told(&jpeg), "JPEG: it is damaged: it has no pixels");
}

/// A JPEG with bytes after a marker's length replaced.
fn changed(name: &str, code: u8, at: usize, bytes: &[u8]) -> String {
    let mut jpeg = known(name);
    let first = marker(&jpeg, code) + 4 + at;
    jpeg[first..first + bytes.len()].copy_from_slice(bytes);
    told(&jpeg)
}

/// A JPEG whose marker of one kind is one of another.
fn renamed(name: &str, code: u8, other: u8) -> String {
    let mut jpeg = known(name);
    let at = marker(&jpeg, code) + 1;
    jpeg[at] = other;
    told(&jpeg)
}

#[test]
fn headers_of_jpegs_are_held_to_what_there_can_be() {
    let unsupported = "JPEG: not supported: ";
    assert_eq!(changed("444.jpg", 0xc0, 0, &[12]), format!("{unsupported}12 bits a sample; 8 are supported"));
    assert_eq!(changed("444.jpg", 0xc0, 5, &[2]), format!("{unsupported}2 components; 1, 3 or 4 are supported"));
    let kinds = "; baseline and progressive are supported";
    assert_eq!(renamed("444.jpg", 0xc0, 0xc9), format!("{unsupported}arithmetic coding{kinds}"));
    assert_eq!(renamed("444.jpg", 0xc0, 0xc3), format!("{unsupported}lossless or hierarchical coding{kinds}"));
    let factors = "sampling factors that do not divide each other";
    assert_eq!(changed("444.jpg", 0xc0, 7, &[0x31, 0, 2, 0x21]), format!("{unsupported}{factors}"));
    let damaged = [
        (changed("444.jpg", 0xc0, 7, &[0x01]), "its components have impossible sampling factors"),
        (changed("444.jpg", 0xc0, 5, &[1]), "its frame header has another length than its components take"),
        (renamed("444.jpg", 0xc0, 0xec), "it has no frame header"),
        (renamed("444.jpg", 0xda, 0xc0), "it has two frames"),
        (renamed("444.jpg", 0xdb, 0xec), "a quantisation table is missing"),
        (changed("444.jpg", 0xdb, 0, &[0x0f]), "a quantisation table has an impossible number"),
        (renamed("444.jpg", 0xc4, 0xec), "a Huffman table is missing"),
        (changed("444.jpg", 0xc4, 0, &[0x0f]), "a Huffman table has an impossible number"),
        (changed("444.jpg", 0xc4, 1, &[3, 0, 3]), "a Huffman table has more codes than there can be"),
        (changed("444.jpg", 0xda, 0, &[0]), "a scan has no components"),
        (changed("444.jpg", 0xda, 1, &[9]), "a scan has an unknown component"),
        (changed("444.jpg", 0xda, 1, &[2]), "a scan has a component twice"),
        (changed("444.jpg", 0xda, 7, &[1]), "a scan has impossible parameters"),
    ];
    for (told, wrong) in damaged {
        assert_eq!(told, format!("JPEG: it is damaged: {wrong}"));
    }
    let no_length = [&[0xff, 0xd8, 0xff, 0xe0, 0, 1], &known("444.jpg")[6..]].concat();
    assert_eq!(told(&no_length), "JPEG: it is damaged: a marker has an impossible length");
}

#[test]
fn scans_are_counted_and_all_there() {
    let jpeg = known("progressive.jpg");
    let scan = marker(&jpeg, 0xda);
    let end = jpeg.len() - 2;
    // The first scan ends where tables for the next begin.
    let next = scan + marker(&jpeg[scan..], 0xc4);
    let many = [&jpeg[..next], &jpeg[scan..next].repeat(64), &jpeg[next..]].concat();
    assert_eq!(told(&many), "JPEG: not supported: more than 64 scans");
    let none = [&jpeg[..scan], &jpeg[end..]].concat();
    assert_eq!(told(&none), "JPEG: it is damaged: a component has no scan");
    let once = known("444.jpg");
    let scan = marker(&once, 0xda);
    let twice = [&once[..once.len() - 2], &once[scan..]].concat();
    assert_eq!(told(&twice), "JPEG: it is damaged: a component has two scans");
    let mut restarts = known("restarts.jpg");
    let at = marker(&restarts, 0xd1);
    restarts[at + 1] = 0xd5;
    assert_eq!(told(&restarts), "JPEG: it is damaged: a restart marker is missing");
}
