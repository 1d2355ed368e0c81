//! Texts, ids and tokenizers: what becomes of them, and what is refused.

mod files;
mod ids;
mod texts;
