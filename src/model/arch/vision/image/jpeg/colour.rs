//! From a JPEG's components to red, green and blue, as libjpeg (`jdcolor.c`) and Pillow convert them, bit for bit.

use super::frame::Frame;

/// What the components mean.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    Gray,
    Rgb,
    /// Luma, and the differences of blue and red.
    Ycc,
    Cmyk,
    /// Ink as luma and differences, and black.
    Ycck,
}

impl Colours {
    /// By the number of components, the markers and the names of components (`jdapimin.c`, `default_decompress_parms`).
    pub(super) fn of(frame: &Frame, jfif: bool, adobe: Option<u8>) -> Self {
        let ids: Vec<u8> = frame.components.iter().map(|component| component.id).collect();
        match (ids.as_slice(), adobe) {
            ([_], _) => Self::Gray,
            ([_, _, _], _) if jfif => Self::Ycc,
            ([_, _, _], Some(0)) | ([b'R', b'G', b'B'], None) => Self::Rgb,
            ([_, _, _], _) => Self::Ycc,
            (_, None | Some(0)) => Self::Cmyk,
            _ => Self::Ycck,
        }
    }

    /// The pixels of a line, from a line of each component.
    pub(super) fn convert(self, lines: &[Vec<u8>], out: &mut Vec<u8>) {
        match (self, lines) {
            (Self::Gray, [gray]) => out.extend(gray.iter().flat_map(|gray| [*gray; 3])),
            (Self::Rgb, [red, green, blue]) => {
                out.extend(red.iter().zip(green).zip(blue).flat_map(|((red, green), blue)| [*red, *green, *blue]));
            }
            (Self::Ycc, [luma, blue, red]) => {
                out.extend(luma.iter().zip(blue).zip(red).flat_map(|((luma, blue), red)| ycc(*luma, *blue, *red)));
            }
            (_, [a, b, c, black]) => {
                for (((a, b), c), black) in a.iter().zip(b).zip(c).zip(black) {
                    let stored = if self == Self::Ycck { ycc(*a, *b, *c).map(|ink| 255 - ink) } else { [*a, *b, *c] };
                    out.extend(stored.map(|ink| over_black(ink, *black)));
                }
            }
            _ => {}
        }
    }
}

/// 16 bits of fraction, rounded where libjpeg's tables round.
fn ycc(luma: u8, blue: u8, red: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let (luma, blue, red) = (i32::from(luma), i32::from(blue) - 128, i32::from(red) - 128);
    let clip = |number: i32| u8::try_from(number.clamp(0, 255)).unwrap_or(0);
    [
        clip(luma + ((red * 91_881 + HALF) >> 16)),
        clip(luma + ((blue * -22_554 + HALF + red * -46_802) >> 16)),
        clip(luma + ((blue * 116_130 + HALF) >> 16)),
    ]
}

/// Ink over black. Pillow takes every such image for one of Adobe's, which stores how much ink there is not.
fn over_black(stored: u8, black: u8) -> u8 {
    let (ink, left) = (u32::from(255 - stored), u32::from(black));
    let product = ink * left + 128;
    let taken = ((product >> 8) + product) >> 8;
    u8::try_from(left.saturating_sub(taken)).unwrap_or(0)
}
