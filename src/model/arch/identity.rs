//! A model that gives back what it gets, in any element type, on host bytes: for tests and load tests.
//!
//! With a `batch_time` every batch takes so long without using the CPU, as one on an accelerator would.

use std::time::Duration;

use super::super::{About, HostModel, LoadError, Loaded, Model, Scoring, Source};
use super::{read_declaration, tensor_name};
use crate::config::Table;
use crate::types::{DataType, Error, Presence, Reason, Signature, Tensor, TensorSpec};

const DECLARATION: &str = "identity.toml";
const TENSORS_MAX: usize = 256;
const RANK_MAX: usize = 16;
/// Largest fixed dimension.
const DIM_MAX: i64 = 1 << 40;
const BATCH_TIME_MAX: Duration = Duration::from_mins(1);

/// Reads `identity.toml`: a list of `[[tensor]]`, each with the names of its input and output, type and dimensions; and
/// before it, where wanted, the `batch_time`.
pub(crate) fn build(source: &Source<'_>) -> Result<Loaded, LoadError> {
    let (signature, batch_time) = read_declaration(source.files, DECLARATION, |root| {
        (read(root), root.duration("batch_time", Duration::ZERO..=BATCH_TIME_MAX))
    })?;
    let scoring = Scoring::resolve(&signature, None, &source.config.confidence)?;
    let model = Identity { tensors: signature.inputs.len(), batch_time: batch_time.unwrap_or_default() };
    let about = About { signature, prepare: None, scoring, platform: "identity" };
    Ok(Loaded { about, model: Model::Host(Box::new(model)) })
}

struct Identity {
    tensors: usize,
    /// How long each batch takes at least.
    batch_time: Duration,
}

impl HostModel for Identity {
    fn forward(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Error> {
        if inputs.len() != self.tensors {
            let detail = format!("expected {} inputs, got {}", self.tensors, inputs.len());
            return Err(Error::new(Reason::Model, detail));
        }
        if !self.batch_time.is_zero() {
            #[expect(
                clippy::disallowed_methods,
                reason = "a model of a declared cost keeps its device's thread so long"
            )]
            std::thread::sleep(self.batch_time);
        }
        Ok(inputs.to_vec())
    }
}

fn read(root: &Table<'_>) -> Signature {
    root.require(&["tensor"]);
    let mut signature = Signature { inputs: Vec::new(), outputs: Vec::new() };
    let tables = root.tables("tensor");
    if tables.len() > TENSORS_MAX {
        root.problem("tensor", &format!("expected at most {TENSORS_MAX} tensors, got {}", tables.len()));
    }
    for table in &tables {
        table.require(&["input", "output", "dtype", "dims"]);
        let dtype = read_dtype(table);
        let row = read_dims(table);
        let input = TensorSpec { name: tensor_name(table, "input", ""), dtype, row, presence: Presence::Required };
        let output = TensorSpec { name: tensor_name(table, "output", ""), ..input.clone() };
        for (key, spec, known) in [("input", &input, &signature.inputs), ("output", &output, &signature.outputs)] {
            if known.iter().any(|other| other.name == spec.name) {
                table.problem(key, &format!("\"{}\" is there twice", spec.name));
            }
        }
        signature.inputs.push(input);
        signature.outputs.push(output);
    }
    signature
}

fn read_dtype(table: &Table<'_>) -> DataType {
    let Some(name) = table.string("dtype") else { return DataType::Fp32 };
    name.parse().unwrap_or_else(|()| {
        let known: Vec<_> = DataType::ALL.iter().map(|dtype| dtype.name()).collect();
        table.problem("dtype", &format!("expected one of {}, got \"{name}\"", known.join(", ")));
        DataType::Fp32
    })
}

fn read_dims(table: &Table<'_>) -> Vec<Option<usize>> {
    let dims = table.integers("dims", -1..=DIM_MAX).unwrap_or_default();
    if dims.len() > RANK_MAX {
        table.problem("dims", &format!("expected at most {RANK_MAX} dimensions, got {}", dims.len()));
    }
    if dims.contains(&0) {
        table.problem("dims", "expected sizes of at least 1, or -1 for a free one, got 0");
    }
    dims.iter().map(|dim| usize::try_from(*dim).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::config::ModelConfig;
    use crate::model::{Files, LoadError, Loaded, Model, Target, load};
    use crate::types::{DataType, Shape, Tensor};
    use bytes::Bytes;

    fn load_text(text: &str) -> Result<Loaded, LoadError> {
        let contents = BTreeMap::from([("identity.toml".to_owned(), text.as_bytes().to_vec().into())]);
        load(&Files::Memory(contents), &ModelConfig::default(), &Target::cpu())
    }

    #[test]
    fn every_type_comes_back_as_it_went() {
        let tables = DataType::ALL.map(|dtype| {
            format!(
                "[[tensor]]\ninput = \"in {dtype}\"\noutput = \"out {dtype}\"\ndtype = \"{dtype}\"\ndims = [-1, 2]\n"
            )
        });
        let loaded = load_text(&tables.concat()).expect("a model");
        assert_eq!(loaded.about.platform, "identity");
        assert_eq!(loaded.about.signature.inputs.len(), 14);
        assert_eq!(loaded.about.signature.outputs[13].name, "out BYTES");
        assert_eq!(loaded.about.signature.inputs[0].wire_shape(), [-1, -1, 2]);
        let inputs = DataType::ALL.map(|dtype| {
            let bytes = vec![0; dtype.width().unwrap_or(4) * 6];
            Tensor::new(dtype, Shape::new(&[1, 3, 2]), Bytes::from(bytes)).expect("a tensor")
        });
        let Model::Host(model) = loaded.model else { panic!("not on the host") };
        assert_eq!(model.forward(&inputs).expect("outputs"), inputs);
        let wrong = model.forward(&inputs[1..]).expect_err("one is missing");
        assert_eq!(wrong.detail(), "expected 14 inputs, got 13");
    }

    #[test]
    fn a_batch_takes_the_declared_time() {
        let text = "batch_time = \"5ms\"\n[[tensor]]\ninput = \"a\"\noutput = \"b\"\ndtype = \"INT8\"\ndims = []\n";
        let Model::Host(model) = load_text(text).expect("a model").model else { panic!("not on the host") };
        let input = Tensor::new(DataType::Int8, Shape::new(&[3]), Bytes::from_static(b"abc")).expect("a tensor");
        let begun = tokio::time::Instant::now();
        assert_eq!(model.forward(std::slice::from_ref(&input)).expect("outputs"), [input]);
        assert!(begun.elapsed() >= std::time::Duration::from_millis(5));
        let wrong = load_text(&text.replace("5ms", "2m")).err().expect("an error").to_string();
        assert!(wrong.contains("line 1: ") && wrong.contains("got \"2m\""), "{wrong}");
    }

    #[test]
    fn mistakes_are_told_with_their_lines() {
        let text = "[[tensor]]\ninput = \"a\"\noutput = \"b\"\ndtype = \"FP23\"\ndims = [0]\nshape = [1]\n";
        let wrong = load_text(text).err().expect("an error").to_string();
        for part in [
            "identity.toml: ",
            "line 4: ",
            "got \"FP23\"",
            "line 5: ",
            "expected sizes of at least 1, or -1 for a free one, got 0",
            "line 6: unknown key `tensor[0].shape`",
        ] {
            assert!(wrong.contains(part), "{part} in {wrong}");
        }
        let twice = "[[tensor]]\ninput = \"a\"\noutput = \"b\"\ndtype = \"FP32\"\ndims = []\n".repeat(2);
        assert!(load_text(&twice).err().expect("an error").reason().contains("\"a\" is there twice"));
        assert!(load_text("").err().expect("an error").reason().contains("missing key `tensor`"));
    }
}
