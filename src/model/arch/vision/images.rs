//! A model's rows: pixels as clients send them, or made of encoded images.

use crate::model::{Prepare, Prepared, Room};
use crate::types::{DataType, Error, Presence, Rows, Shape, Tensor, TensorSpec};

use super::image::Encoded;
use super::processor::Recipe;

const IMAGE: &str = "image";
const PIXELS: &str = "pixel_values";
/// Numbers of made-up rows, at most.
const MADE_UP_MAX: usize = 1 << 26;

/// How the rows of one model are made.
#[derive(Debug)]
pub(super) struct Images {
    /// How images are prepared; `None` if the folder does not say, so that only pixels are taken.
    recipe: Option<Recipe>,
    /// Height and width.
    sides: [usize; 2],
    inputs: Vec<TensorSpec>,
    shows: Vec<TensorSpec>,
}

impl Images {
    /// `sides`: height and width of what the model takes, and the recipe makes.
    pub(super) fn new(recipe: Option<Recipe>, sides: [usize; 2]) -> Self {
        let [height, width] = sides;
        let pixels = |presence| TensorSpec {
            name: PIXELS.to_owned(),
            dtype: DataType::Fp32,
            row: vec![Some(3), Some(height), Some(width)],
            presence,
        };
        let inputs = if recipe.is_some() {
            let image = TensorSpec {
                name: IMAGE.to_owned(),
                dtype: DataType::Bytes,
                row: Vec::new(),
                presence: Presence::Usual,
            };
            vec![image, pixels(Presence::Optional)]
        } else {
            vec![pixels(Presence::Required)]
        };
        Self { recipe, sides, inputs, shows: vec![pixels(Presence::Required)] }
    }

    /// What clients may send.
    pub(super) fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn shape(&self, rows: usize) -> Shape {
        let [height, width] = self.sides;
        Shape::new(&[rows, 3, height, width])
    }

    /// The pixels of encoded images, one after the other.
    fn decode(&self, images: &Tensor, recipe: &Recipe, room: &mut Room<'_>) -> Result<Tensor, Error> {
        let [height, width] = self.sides;
        let rows = images.shape().rows().unwrap_or(0);
        let numbers = rows.saturating_mul(height * width * 3);
        room(numbers.saturating_mul(size_of::<f32>()))?;
        let mut values = Vec::with_capacity(numbers);
        // Images are decoded one after the other, so that the largest is what the work takes.
        let mut largest = 0;
        for (row, bytes) in images.strings().enumerate() {
            let wrong = |reason: String| Error::invalid(format!("input \"{IMAGE}\", row {row}: {reason}"));
            let encoded = Encoded::read(bytes).map_err(wrong)?;
            let work = encoded.bytes().saturating_add(recipe.bytes(encoded.size()));
            room(work.saturating_sub(largest))?;
            largest = largest.max(work);
            recipe.apply(encoded.decode().map_err(wrong)?, &mut values);
        }
        Tensor::from_f32(self.shape(rows), &values).map_err(Error::invalid)
    }
}

impl Prepare for Images {
    fn prepare(&self, inputs: Vec<Option<Tensor>>, room: &mut Room<'_>) -> Result<Prepared, Error> {
        let mut given = self.inputs.iter().zip(inputs).filter_map(|(spec, tensor)| Some((spec, tensor?)));
        let pixels = match (given.next(), given.next(), &self.recipe) {
            (Some((spec, images)), None, Some(recipe)) if spec.dtype == DataType::Bytes => {
                self.decode(&images, recipe, room)?
            }
            (Some((_, pixels)), None, _) => pixels,
            _ => return Err(Error::invalid(format!("expected \"{IMAGE}\" or \"{PIXELS}\", got both"))),
        };
        let count = pixels.shape().rows().unwrap_or(0);
        Ok(Prepared { rows: Rows::uniform(vec![pixels], count), truncated: Vec::new() })
    }

    fn shows(&self) -> &[TensorSpec] {
        &self.shows
    }

    fn show(&self, _at: usize, rows: &Rows) -> Result<Tensor, Error> {
        rows.inputs().first().cloned().ok_or_else(|| Error::invalid("expected rows of pixels"))
    }

    fn length_max(&self) -> Option<usize> {
        None
    }

    fn made_up(&self, count: usize, _length: usize) -> Option<Rows> {
        let shape = self.shape(count);
        let numbers = shape.elements().filter(|numbers| *numbers <= MADE_UP_MAX)?;
        let pixels = Tensor::new(DataType::Fp32, shape, vec![0; numbers * size_of::<f32>()].into()).ok()?;
        Some(Rows::uniform(vec![pixels], count))
    }
}
