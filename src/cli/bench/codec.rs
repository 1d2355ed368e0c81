//! Messages that cost the client nearly nothing: encoded before the run, and of an answer at most the id is read.

use bytes::{Buf as _, BufMut as _, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// The one field that differs from call to call; it has the same number in requests and in answers.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Id {
    #[prost(string, tag = "3")]
    pub(super) id: String,
}

/// A request.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) body: Bytes,
    pub(super) id: Option<Id>,
}

/// Writes [`Encoded`]; reads the [`Id`] of answers, or nothing of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw {
    pub(super) reads_ids: bool,
}

impl Codec for Raw {
    type Encode = Encoded;
    type Decode = Id;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Encoded;
    type Error = Status;

    fn encode(&mut self, item: Encoded, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item.body);
        match item.id {
            // Fields of a message may come in any order.
            Some(id) => id.encode(out).map_err(|error| Status::internal(error.to_string())),
            None => Ok(()),
        }
    }
}

impl Decoder for Raw {
    type Item = Id;
    type Error = Status;

    fn decode(&mut self, input: &mut DecodeBuf<'_>) -> Result<Option<Id>, Status> {
        if self.reads_ids {
            let id = Id::decode(input).map_err(|error| Status::internal(format!("read the answer: {error}")))?;
            return Ok(Some(id));
        }
        input.advance(input.remaining());
        Ok(Some(Id::default()))
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::Id;
    use crate::api::grpc::proto::{ModelInferRequest, ModelInferResponse};

    #[test]
    fn an_id_behind_an_encoded_request_is_its_id() {
        let request = ModelInferRequest { model_name: "m".to_owned(), ..Default::default() };
        let encoded = [request.encode_to_vec(), Id { id: "7".to_owned() }.encode_to_vec()].concat();
        let read = ModelInferRequest::decode(encoded.as_slice()).expect("a request");
        assert_eq!(read, ModelInferRequest { id: "7".to_owned(), ..request });
    }

    #[test]
    fn an_id_is_read_out_of_a_whole_answer() {
        let raw_output_contents = vec![vec![1, 2, 3].into()];
        let answer = ModelInferResponse { id: "7".to_owned(), raw_output_contents, ..Default::default() };
        assert_eq!(Id::decode(answer.encode_to_vec().as_slice()).expect("an answer").id, "7");
    }
}
