//! How much a `ModelInferRequest` becomes when it is decoded, found out without decoding it.
//!
//! Two bytes on the wire can become hundreds in memory: an empty tensor, an empty parameter, a number of one byte. What
//! has no use in such numbers is counted against a limit; what has, the contents of tensors, is weighed, so that room for
//! it is taken before it is there.

use prost::encoding::{WireType, decode_key, decode_varint};

use crate::types::Error;

/// Tensors in and out, and raw contents.
const TENSORS_MAX: usize = 256;
/// Parameters of a request or of a tensor.
const PARAMETERS_MAX: usize = 64;
/// Fields that the protocol does not have, and repetitions of those that should be there once.
const OTHERS_MAX: usize = 64;
/// Bytes of a shape: more than the dimensions that a tensor may have.
const SHAPE_BYTES_MAX: usize = 1024;
/// What a string of `bytes_contents` takes beside its bytes.
const STRING: usize = 48;

/// What can be seen of a request at its top level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outline {
    /// Bytes of all that is decoded piece by piece; raw contents stay as they are.
    pub(super) piecemeal: usize,
}

impl Outline {
    /// Looks at the fields of the request. Cost: some nanoseconds a field, of which there are few.
    ///
    /// Errors: too many of a kind, or not protobuf.
    pub(super) fn of(message: &[u8]) -> Result<Self, Error> {
        let (mut outline, mut counts, mut rest) = (Self::default(), [0; 8], message);
        while let Some(field) = Field::next(&mut rest)? {
            let (place, name, most) = match field.number {
                4 => (4, "parameters", PARAMETERS_MAX),
                5 => (5, "inputs", TENSORS_MAX),
                6 => (6, "outputs", TENSORS_MAX),
                7 => (7, "raw_input_contents", TENSORS_MAX),
                _ => (0, "other fields", OTHERS_MAX),
            };
            count(&mut counts, place, name, most)?;
            if field.number != 7 {
                outline.piecemeal += field.value.len();
            }
        }
        Ok(outline)
    }
}

/// Bytes that the contents of the request's inputs take when they are decoded.
///
/// Errors: a tensor has too many of a kind, or is not protobuf. Cost: some nanoseconds an element that is not packed.
pub(super) fn weigh(message: &[u8]) -> Result<usize, Error> {
    let (mut weight, mut rest) = (0, message);
    while let Some(field) = Field::next(&mut rest)? {
        match field.number {
            5 => weight += tensor(field.value, 4, true)?,
            6 => weight += tensor(field.value, 2, false)?,
            _ => {}
        }
    }
    Ok(weight)
}

/// An input or output, whose parameters are in the field `parameters`.
fn tensor(value: &[u8], parameters: u32, is_input: bool) -> Result<usize, Error> {
    let (mut weight, mut shape, mut counts, mut rest) = (0, 0, [0; 8], value);
    while let Some(field) = Field::next(&mut rest)? {
        match field.number {
            3 if is_input => {
                shape += field.value.len().max(1);
                if shape > SHAPE_BYTES_MAX {
                    return Err(Error::invalid("the shape of an input has far more dimensions than a tensor may have"));
                }
            }
            5 if is_input => {
                // Repetitions are merged into one.
                count(&mut counts, 5, "contents of a tensor", OTHERS_MAX)?;
                weight += contents(field.value)?;
            }
            number if number == parameters => count(&mut counts, 4, "parameters of a tensor", PARAMETERS_MAX)?,
            _ => count(&mut counts, 0, "other fields of a tensor", OTHERS_MAX)?,
        }
    }
    Ok(weight)
}

/// Typed contents: packed into one value, or a field for each element.
fn contents(value: &[u8]) -> Result<usize, Error> {
    let (mut weight, mut others, mut rest): (usize, _, _) = (0, [0; 8], value);
    while let Some(field) = Field::next(&mut rest)? {
        // A packed number takes one byte or more, those of a fixed size as many as in memory.
        let (each, bytes) = match field.number {
            1 => (1, 1),
            2 | 4 => (4, 4),
            3 | 5 => (8, 8),
            6 => (4, 1),
            7 => (8, 1),
            8 => (STRING, 1),
            _ => {
                count(&mut others, 0, "other fields of contents", OTHERS_MAX)?;
                continue;
            }
        };
        let more = if field.is_delimited { field.value.len().saturating_mul(bytes) } else { 0 };
        let single = if field.is_delimited && field.number != 8 { 0 } else { each };
        weight = weight.saturating_add(more).saturating_add(single);
    }
    Ok(weight)
}

fn count(counts: &mut [usize; 8], place: usize, name: &str, most: usize) -> Result<(), Error> {
    let Some(count) = counts.get_mut(place) else { return Ok(()) };
    *count += 1;
    if *count > most {
        return Err(Error::invalid(format!("expected at most {most} {name}, got more")));
    }
    Ok(())
}

/// One field: its number, and the bytes of its value where it has a length.
struct Field<'a> {
    number: u32,
    value: &'a [u8],
    is_delimited: bool,
}

impl<'a> Field<'a> {
    /// Takes the next field; `None` at the end.
    fn next(rest: &mut &'a [u8]) -> Result<Option<Self>, Error> {
        if rest.is_empty() {
            return Ok(None);
        }
        let field = Self::read(rest)
            .ok_or_else(|| Error::invalid("the request message cannot be decoded: expected the protocol's protobuf"))?;
        Ok(Some(field))
    }

    fn read(rest: &mut &'a [u8]) -> Option<Self> {
        let (number, kind) = decode_key(rest).ok()?;
        let mut value = &[][..];
        match kind {
            WireType::Varint => {
                decode_varint(rest).ok()?;
            }
            WireType::SixtyFourBit => {
                take(rest, 8)?;
            }
            WireType::ThirtyTwoBit => {
                take(rest, 4)?;
            }
            WireType::LengthDelimited => value = delimited(rest)?,
            // Groups are not in the protocol, nor in any of this century.
            WireType::StartGroup | WireType::EndGroup => return None,
        }
        Some(Self { number, value, is_delimited: kind == WireType::LengthDelimited })
    }
}

/// The bytes of a length-delimited value, which `rest` stands before.
pub(super) fn delimited<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(decode_varint(rest).ok()?).ok()?;
    take(rest, length)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::{Outline, weigh};
    use crate::api::grpc::proto::model_infer_request::InferInputTensor;
    use crate::api::grpc::proto::{InferTensorContents, ModelInferRequest};

    fn request(contents: InferTensorContents) -> Vec<u8> {
        let input = InferInputTensor {
            name: "x".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![1, 1000],
            contents: Some(contents),
            ..Default::default()
        };
        ModelInferRequest { inputs: vec![input], ..Default::default() }.encode_to_vec()
    }

    #[test]
    fn contents_weigh_what_they_become() {
        let small = vec![1; 1000];
        let cases = [
            (InferTensorContents { bool_contents: vec![true; 1000], ..Default::default() }, 1000),
            (InferTensorContents { int_contents: small, ..Default::default() }, 4000),
            (InferTensorContents { int64_contents: vec![1; 1000], ..Default::default() }, 8000),
            (InferTensorContents { uint_contents: vec![1; 1000], ..Default::default() }, 4000),
            (InferTensorContents { fp32_contents: vec![1.0; 1000], ..Default::default() }, 4000),
            (InferTensorContents { fp64_contents: vec![1.0; 1000], ..Default::default() }, 8000),
            (InferTensorContents { bytes_contents: vec![vec![1; 10]; 1000], ..Default::default() }, 58_000),
        ];
        for (contents, expected) in cases {
            assert_eq!(weigh(&request(contents)).expect("protobuf"), expected);
        }
        // Without packing, as old encoders write them: field 3 of the contents, a byte each.
        let unpacked = [[0x18_u8, 1].repeat(500)].concat();
        let tensor = [&[0x2a, 0xe8, 0x07][..], &unpacked].concat();
        let message = [&[0x2a, 0xeb, 0x07][..], &tensor].concat();
        assert_eq!(weigh(&message).expect("protobuf"), 4000);
    }

    #[test]
    fn what_is_useless_in_such_numbers_is_refused() {
        let parts: [(&[u8], &str); 6] = [
            (&[0x2a, 0], "256 inputs"),
            (&[0x32, 0], "256 outputs"),
            (&[0x3a, 0], "256 raw_input_contents"),
            (&[0x22, 0], "64 parameters"),
            (&[0x0a, 0], "64 other fields"),
            (&[0x50, 1], "64 other fields"),
        ];
        for (part, text) in parts {
            let refused = Outline::of(&part.repeat(2000)).expect_err("too many");
            assert!(refused.detail().contains(text), "{refused}");
        }
        for (part, text) in
            [(&[0x18_u8, 1][..], "shape"), (&[0x22, 0], "64 parameters of a tensor"), (&[0x0a, 0], "other")]
        {
            let inner = part.repeat(1100);
            let mut message = vec![0x2a];
            prost::encoding::encode_varint(inner.len() as u64, &mut message);
            message.extend(inner);
            let refused = weigh(&message).expect_err("too many");
            assert!(refused.detail().contains(text), "{refused}");
        }
    }

    #[test]
    fn raw_contents_are_not_decoded_piece_by_piece() {
        let message = ModelInferRequest { raw_input_contents: vec![vec![0; 5000].into()], ..Default::default() };
        assert_eq!(Outline::of(&message.encode_to_vec()).expect("protobuf").piecemeal, 0);
        let contents = InferTensorContents { fp32_contents: vec![1.0; 1000], ..Default::default() };
        assert!(Outline::of(&request(contents)).expect("protobuf").piecemeal > 4000);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let weighed = Outline::of(&bytes).and_then(|_| weigh(&bytes));
            // What prost can decode is refused for its numbers only.
            if ModelInferRequest::decode(&bytes[..]).is_ok() && weighed.is_err() {
                let text = weighed.expect_err("refused").detail().to_owned();
                prop_assert!(text.contains("at most") || text.contains("dimensions") || text.contains("decoded"), "{}", text);
            }
        }
    }
}
