//! Small pictures of every kind, decoded as Pillow 13 and transformers' `load_image` decode them.

use super::decode;

/// A file's name and bytes, the sides that Pillow gives it, and the FNV-1a hash of its pixels there.
type Known = (&'static str, &'static [u8], (usize, usize), u64);

pub(super) const KNOWN: &[Known] = &[
    ("411.jpg", include_bytes!("pictures/411.jpg"), (37, 15), 0x8e6a_d33d_8176_8ba5),
    ("420.jpg", include_bytes!("pictures/420.jpg"), (19, 21), 0xb0e3_5829_8ace_1230),
    ("420_two_wide.jpg", include_bytes!("pictures/420_two_wide.jpg"), (3, 9), 0xfc42_7fc3_b95a_8dd4),
    ("422.jpg", include_bytes!("pictures/422.jpg"), (19, 21), 0xdb85_57e5_d308_0bcf),
    ("440.jpg", include_bytes!("pictures/440.jpg"), (21, 19), 0xcfc3_2a79_59d2_f3fa),
    ("444.jpg", include_bytes!("pictures/444.jpg"), (19, 21), 0x5d16_18ad_146e_c730),
    ("cmyk.jpg", include_bytes!("pictures/cmyk.jpg"), (19, 21), 0x17c8_e5e9_5669_43de),
    ("gray.jpg", include_bytes!("pictures/gray.jpg"), (19, 21), 0xdc90_3a8a_2b1b_155e),
    ("gray_1.png", include_bytes!("pictures/gray_1.png"), (7, 3), 0x4e2a_d54d_f889_e473),
    ("gray_16.png", include_bytes!("pictures/gray_16.png"), (7, 3), 0xa806_d1ab_a001_36f8),
    ("gray_2.png", include_bytes!("pictures/gray_2.png"), (7, 3), 0x7343_f33d_3b4b_b855),
    ("gray_4.png", include_bytes!("pictures/gray_4.png"), (7, 3), 0x30bc_7d78_f246_306d),
    ("gray_8.png", include_bytes!("pictures/gray_8.png"), (7, 3), 0x12d4_889d_727e_b5f9),
    ("gray_alpha_16.png", include_bytes!("pictures/gray_alpha_16.png"), (7, 3), 0x7661_aefa_4395_5e97),
    ("gray_alpha_8.png", include_bytes!("pictures/gray_alpha_8.png"), (7, 3), 0x6dbd_3967_0314_3aae),
    ("interlaced.png", include_bytes!("pictures/interlaced.png"), (3, 2), 0xaa9d_f662_1a79_70cb),
    ("optimised.jpg", include_bytes!("pictures/optimised.jpg"), (19, 21), 0xa00f_6fc0_956f_e61d),
    ("palette_1.png", include_bytes!("pictures/palette_1.png"), (7, 3), 0x0005_4595_9367_bc70),
    ("palette_2.png", include_bytes!("pictures/palette_2.png"), (7, 3), 0xc1c7_f6aa_8a26_1642),
    ("palette_4.png", include_bytes!("pictures/palette_4.png"), (7, 3), 0xe65e_d420_0c4e_e1dd),
    ("palette_8.png", include_bytes!("pictures/palette_8.png"), (7, 3), 0x1db6_47d3_33a1_0679),
    ("palette_beyond.png", include_bytes!("pictures/palette_beyond.png"), (7, 3), 0x0375_62b7_2f7f_9ec9),
    ("progressive.jpg", include_bytes!("pictures/progressive.jpg"), (37, 35), 0xae51_946d_cf43_96c4),
    ("progressive_444.jpg", include_bytes!("pictures/progressive_444.jpg"), (19, 21), 0x0396_5fc4_64c6_89af),
    ("restarts.jpg", include_bytes!("pictures/restarts.jpg"), (37, 35), 0x9886_6928_d1fc_e8eb),
    ("rgb.jpg", include_bytes!("pictures/rgb.jpg"), (19, 21), 0x17c8_e5e9_5669_43de),
    ("rgb_16.png", include_bytes!("pictures/rgb_16.png"), (7, 3), 0x32d8_b128_d0d9_c498),
    ("rgb_8.png", include_bytes!("pictures/rgb_8.png"), (7, 3), 0x7324_b725_a2ec_1e43),
    ("rgba_16.png", include_bytes!("pictures/rgba_16.png"), (7, 3), 0x809d_6f77_30fe_a73f),
    ("rgba_8.png", include_bytes!("pictures/rgba_8.png"), (7, 3), 0xf454_f60c_6da5_cee8),
    ("turned.jpg", include_bytes!("pictures/turned.jpg"), (21, 19), 0xd3d2_586c_ac76_cf14),
    ("turned.png", include_bytes!("pictures/turned.png"), (6, 5), 0xb8c5_ff77_9ae2_46b9),
    ("turned_after.png", include_bytes!("pictures/turned_after.png"), (3, 7), 0xb0be_8b17_c27c_54ea),
    ("ycck.jpg", include_bytes!("pictures/ycck.jpg"), (19, 21), 0x4590_e379_c39c_706f),
];

fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn pixels_are_pillows_to_the_bit() {
    for (name, bytes, sides, pixels) in KNOWN {
        let picture = decode(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((picture.width, picture.height), *sides, "{name}");
        assert_eq!(hash(&picture.pixels), *pixels, "{name}");
    }
}

#[test]
fn a_colour_that_is_seen_through_is_told_and_made_white() {
    let seen_through = |name: &str| {
        let (_, bytes, ..) = KNOWN.iter().find(|(known, ..)| *known == name).expect("a picture");
        let at = bytes.windows(4).position(|part| part == b"IDAT").expect("data") - 4;
        move |told: &[u8]| {
            let mut chunk = b"tRNS".to_vec();
            chunk.extend_from_slice(told);
            let sum = crc(&chunk).to_be_bytes();
            let length = u32::try_from(told.len()).expect("short").to_be_bytes();
            let bytes = [&bytes[..at], &length, &chunk, &sum, &bytes[at..]].concat();
            decode(&bytes).expect("a picture")
        }
    };
    let rgb = seen_through("rgb_8.png");
    let first: [u8; 3] = *rgb(&[0; 6]).pixels.first_chunk().expect("a pixel");
    let [red, green, blue] = first;
    let picture = rgb(&[0, red, 0, green, 0, blue]);
    assert_eq!(picture.transparent, Some(first));
    assert!(picture.on_white().pixels.starts_with(&[255; 3]));
    let gray = seen_through("gray_8.png");
    assert_eq!(gray(&[0, 77]).transparent, Some([77; 3]));
    let palette = seen_through("palette_2.png");
    assert_eq!(palette(&[255, 0, 255]).transparent.map(|colour| colour.len()), Some(3));
    assert_eq!(palette(&[255, 0, 128]).transparent, None, "more than one colour");
}

/// The checksum of a PNG's chunks, bit by bit.
pub(super) fn crc(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 };
        }
    }
    !sum
}
