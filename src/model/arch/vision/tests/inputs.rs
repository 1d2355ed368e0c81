//! What clients send: images, or pixels.

use super::folder::{Folder, strings};
use super::residual::{basic, timm_basic};
use super::transformer::vit;
use crate::model::arch::tests::logged;
use crate::model::{Loaded, Prepared};
use crate::types::{DataType, Error, Presence, Reason, Shape, Tensor};

/// A PNG of 7 x 3 pixels.
const PNG: &[u8] = include_bytes!("../image/tests/pictures/rgb_8.png");
const JPEG: &[u8] = include_bytes!("../image/tests/pictures/420.jpg");

fn loaded(folder: &Folder) -> Loaded {
    folder.load().unwrap_or_else(|error| panic!("{error}"))
}

fn prepare(loaded: &Loaded, inputs: Vec<Option<Tensor>>, most: usize) -> Result<Prepared, Error> {
    let mut left = most;
    let mut room = |bytes: usize| match left.checked_sub(bytes) {
        Some(rest) => {
            left = rest;
            Ok(())
        }
        None => Err(Error::new(Reason::Memory, "no room")),
    };
    loaded.about.prepare.as_ref().expect("prepared").prepare(inputs, &mut room)
}

#[test]
fn images_or_pixels_are_taken_and_shown() {
    let vit = loaded(&vit(true));
    let [image, pixels] = &vit.about.signature.inputs[..] else { panic!("expected two inputs") };
    assert_eq!((image.name.as_str(), image.dtype, image.wire_shape()), ("image", DataType::Bytes, vec![-1]));
    assert_eq!((pixels.name.as_str(), pixels.wire_shape()), ("pixel_values", vec![-1, 3, 8, 12]));
    assert_eq!((image.presence, pixels.presence), (Presence::Usual, Presence::Optional));
    let prepared = prepare(&vit, vec![Some(strings(&[PNG, JPEG])), None], usize::MAX).expect("rows");
    assert_eq!((prepared.rows.count(), prepared.rows.inputs()[0].shape()), (2, &Shape::new(&[2, 3, 8, 12])));
    let prepare_of = vit.about.prepare.as_ref().expect("prepared");
    assert_eq!(prepare_of.shows()[0].name, "pixel_values");
    let shown = prepare_of.show(0, &prepared.rows).expect("pixels");
    assert_eq!(prepare(&vit, vec![None, Some(shown)], 0).expect("rows"), prepared);
    assert_eq!(prepare_of.made_up(3, 1).expect("rows").count(), 3);
    assert_eq!(prepare_of.made_up(1 << 30, 1), None);
    assert_eq!(prepare_of.length_max(), None);
    let empty = crate::types::Rows::uniform(Vec::new(), 1);
    assert_eq!(prepare_of.show(0, &empty).expect_err("none").detail(), "expected rows of pixels");
}

#[test]
fn without_a_word_on_how_images_are_prepared_only_pixels_are_taken() {
    let mut folder = basic();
    assert_eq!(logged(|| drop(loaded(&folder))), "");
    folder.preprocessor = None;
    let warning = "no preprocessor_config.json (timm: pretrained_cfg in config.json): images are not taken, only \
                   pixel_values; in Python, AutoImageProcessor.from_pretrained(NAME).save_pretrained(FOLDER) writes one";
    let logged = logged(|| drop(loaded(&folder)));
    assert!(logged.contains("WARN") && logged.contains(warning), "{logged}");
    let inputs = loaded(&folder).about.signature.inputs;
    assert_eq!((inputs.len(), inputs[0].presence), (1, Presence::Required));
    assert_eq!(inputs[0].wire_shape(), [-1, 3, 224, 224]);
    let inputs = loaded(&timm_basic().with("pretrained_cfg", serde_json::Value::Null)).about.signature.inputs;
    assert_eq!(inputs[0].name, "pixel_values");
}

#[test]
fn what_is_wrong_with_an_image_is_told_with_its_row() {
    let vit = loaded(&vit(true));
    let told = |inputs, most| prepare(&vit, inputs, most).expect_err("refused").detail().to_owned();
    let wrong = told(vec![Some(strings(&[PNG, b"GIF89a"])), None], usize::MAX);
    assert_eq!(wrong, "input \"image\", row 1: expected a JPEG or PNG, got a GIF");
    let wrong = told(vec![Some(strings(&[&JPEG[..300]])), None], usize::MAX);
    assert_eq!(wrong, "input \"image\", row 0: JPEG: it is cut short");
    let pixels = Tensor::from_f32(Shape::new(&[1, 3, 8, 12]), &[0.5; 288]).expect("a tensor");
    let both = told(vec![Some(strings(&[PNG])), Some(pixels)], usize::MAX);
    assert_eq!(both, "expected \"image\" or \"pixel_values\", got both");
    // The numbers of a row, then what the largest image takes.
    let numbers = 3 * 8 * 12 * 4;
    assert_eq!(told(vec![Some(strings(&[JPEG])), None], numbers - 1), "no room");
    assert_eq!(told(vec![Some(strings(&[JPEG])), None], numbers + 1000), "no room");
    assert!(prepare(&vit, vec![Some(strings(&[JPEG])), None], numbers + 8000).is_ok());
    assert!(prepare(&vit, vec![Some(strings(&[JPEG; 2])), None], 2 * numbers + 8000).is_ok(), "one after the other");
}
