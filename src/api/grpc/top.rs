//! The top of a `ModelInferRequest` that has not been decoded: which model it is for, and how urgent it is.
//!
//! Encoders write fields in the order of their numbers, so that names and parameters stand before the tensors and, as a
//! rule, in the first frame. Where they do not, nothing is found here, and the request is judged once it is decoded.

use prost::encoding::{WireType, decode_key, decode_varint};

use super::weigh::delimited;

/// Field numbers of `ModelInferRequest`, up to the first that is of no interest.
const MODEL_NAME: u32 = 1;
const MODEL_VERSION: u32 = 2;
const ID: u32 = 3;
const PARAMETERS: u32 = 4;
/// Of an entry of the map of parameters.
const KEY: u32 = 1;
const VALUE: u32 = 2;
/// Of `InferParameter`.
const INT64: u32 = 2;
const UINT64: u32 = 5;

/// What stands at the top of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Top<'a> {
    pub(super) model: &'a str,
    pub(super) version: &'a str,
    /// The parameter `priority`, where it is a number.
    pub(super) priority: Option<u64>,
}

impl<'a> Top<'a> {
    /// Reads the top of a message of which `bytes` are the beginning. `None` if they do not reach to the tensors, or are
    /// not what is expected.
    pub(super) fn read(bytes: &'a [u8], is_whole: bool) -> Option<Self> {
        let (mut rest, mut top) = (bytes, Self::default());
        while !rest.is_empty() {
            let (field, kind) = decode_key(&mut rest).ok()?;
            if field > PARAMETERS {
                return top.named();
            }
            if kind != WireType::LengthDelimited {
                return None;
            }
            let value = delimited(&mut rest)?;
            match field {
                MODEL_NAME => top.model = std::str::from_utf8(value).ok()?,
                MODEL_VERSION => top.version = std::str::from_utf8(value).ok()?,
                ID => {}
                PARAMETERS => top.priority = priority(value)?.or(top.priority),
                _ => return None,
            }
        }
        if is_whole { top.named() } else { None }
    }

    fn named(self) -> Option<Self> {
        (!self.model.is_empty()).then_some(self)
    }
}

/// The number in an entry of the map, if its key is `priority`. `None` where it cannot be read.
#[expect(clippy::option_option, reason = "what cannot be read, and what is something else")]
fn priority(mut entry: &[u8]) -> Option<Option<u64>> {
    let (mut key, mut value) = (&[][..], &[][..]);
    while !entry.is_empty() {
        let (field, _) = decode_key(&mut entry).ok()?;
        let part = delimited(&mut entry)?;
        match field {
            KEY => key = part,
            VALUE => value = part,
            _ => return None,
        }
    }
    if key != b"priority" || value.is_empty() {
        return Some(None);
    }
    let (field, kind) = decode_key(&mut value).ok()?;
    let is_number = matches!(field, INT64 | UINT64) && kind == WireType::Varint;
    Some(if is_number { decode_varint(&mut value).ok() } else { None })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use prost::Message as _;

    use super::Top;
    use crate::api::grpc::proto::infer_parameter::ParameterChoice;
    use crate::api::grpc::proto::model_infer_request::InferInputTensor;
    use crate::api::grpc::proto::{InferParameter, ModelInferRequest};

    fn request(parameters: &[(&str, ParameterChoice)]) -> ModelInferRequest {
        let parameter = |choice: &ParameterChoice| InferParameter { parameter_choice: Some(choice.clone()) };
        ModelInferRequest {
            model_name: "digits".to_owned(),
            model_version: "3".to_owned(),
            id: "some id".to_owned(),
            parameters: parameters.iter().map(|(key, choice)| ((*key).to_owned(), parameter(choice))).collect(),
            inputs: vec![InferInputTensor { name: "x".to_owned(), parameters: HashMap::new(), ..Default::default() }],
            raw_input_contents: vec![vec![7; 1000].into()],
            ..Default::default()
        }
    }

    #[test]
    fn names_and_priority_are_found_before_the_tensors() {
        for choice in [ParameterChoice::Uint64Param(2), ParameterChoice::Int64Param(2)] {
            let others =
                [("timeout", ParameterChoice::Int64Param(5)), ("text", ParameterChoice::StringParam("x".into()))];
            let all: Vec<_> = others.into_iter().chain([("priority", choice)]).collect();
            let bytes = request(&all).encode_to_vec();
            let top = Top { model: "digits", version: "3", priority: Some(2) };
            assert_eq!(Top::read(&bytes, true), Some(top));
            assert_eq!(Top::read(&bytes[..bytes.len() - 900], false), Some(top), "a part is enough");
            assert_eq!(Top::read(&bytes[..20], false), None, "too small a part is not");
        }
        let named = ModelInferRequest { model_name: "m".to_owned(), ..Default::default() }.encode_to_vec();
        assert_eq!(Top::read(&named, true), Some(Top { model: "m", ..Top::default() }));
        assert_eq!(Top::read(&named, false), None);
        let text = request(&[("priority", ParameterChoice::StringParam("1".into()))]).encode_to_vec();
        assert_eq!(Top::read(&text, true).and_then(|top| top.priority), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), whole in any::<bool>()) {
            let _any = Top::read(&bytes, whole);
        }
    }
}
