//! Which architecture a folder is taken for, and what is refused.

use std::collections::BTreeMap;

use super::{ARCHITECTURES, load};
use crate::config::ModelConfig;
use crate::model::{Files, Target};

fn error(contents: &[(&str, &[u8])]) -> String {
    let contents = contents.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec().into()));
    let files = Files::Memory(contents.collect::<BTreeMap<_, _>>());
    load(&files, &ModelConfig::default(), &Target::cpu()).err().expect("an error").to_string()
}

const REFUSAL: &str = ": such files can run code when they are loaded and are refused; save the weights with \
                       safetensors.torch.save_file(model.state_dict(), \"model.safetensors\")";

#[test]
fn the_marker_says_which_kind_it_is() {
    let markers: std::collections::HashSet<_> = ARCHITECTURES.iter().map(|known| known.marker).collect();
    assert_eq!(markers.len(), ARCHITECTURES.len());
    let wanted = "version: unknown kind of model: expected network.toml (declared network) or identity.toml (identity) \
                  or config.json (Hugging Face), found";
    assert_eq!(error(&[]), format!("{wanted} no files"));
    assert_eq!(error(&[("model.onnx", b"")]), format!("{wanted} model.onnx"));
    let both = error(&[("network.toml", b""), ("identity.toml", b"")]);
    assert_eq!(both, "identity.toml: network.toml is there too; keep one of them");
}

#[test]
fn the_model_type_says_which_architecture_of_hugging_face_it_is() {
    let told = error(&[("config.json", br#"{"model_type": "mamba"}"#)]);
    assert!(told.starts_with("config.json: `model_type`: expected one of bert, distilbert, "), "{told}");
    assert!(told.ends_with(", got \"mamba\""), "{told}");
    assert!(error(&[("config.json", b"{}")]).ends_with(", got \"\""));
    let code = error(&[("config.json", br#"{"model_type": "new", "auto_map": {"AutoModel": "modeling.New"}}"#)]);
    assert!(code.ends_with(", got \"new\"; the code that its `auto_map` names is not run"), "{code}");
    let bert = ("config.json", &br#"{"model_type": "bert"}"#[..]);
    let none = "model.safetensors: no such file, and no index of weights in several files";
    assert_eq!(error(&[bert]), none);
    let pickled = error(&[bert, ("pytorch_model.bin", b"PK")]);
    assert_eq!(pickled, format!("pytorch_model.bin: usually a pickle{REFUSAL}"));
}

#[test]
fn formats_that_run_code_are_refused_by_name_and_by_content() {
    for name in ["model.pt", "weights.PTH", "model.pkl", "pytorch_model.bin", "model.joblib"] {
        assert_eq!(error(&[(name, b"anything")]), format!("{name}: usually a pickle{REFUSAL}"));
    }
    let network = b"[input]\ndims = [2]\n[[layer]]\ntype = \"linear\"\n";
    for bytes in [&b"PK\x03\x04rest of a zip"[..], b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c", b"\x80\x02}q\0."] {
        let error = error(&[("network.toml", network), ("model.safetensors", bytes)]);
        assert!(error.starts_with("model.safetensors: a ") && error.ends_with(REFUSAL), "{error}");
    }
}

#[test]
fn a_declaration_that_is_not_text_is_refused() {
    for marker in ["network.toml", "identity.toml"] {
        assert_eq!(error(&[(marker, b"a = \xff")]), format!("{marker}: expected UTF-8, byte 4 is not"));
    }
}
