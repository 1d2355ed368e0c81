//! Recognises formats that execute code when they are read, in order to refuse them by name.

/// Endings of names under which such files, or the likes of them, are found.
const ENDINGS: [&str; 9] = [".pt", ".pth", ".pkl", ".pickle", ".joblib", ".ckpt", ".bin", ".npy", ".npz"];

/// What the contents are, if they are known to be a pickle or an archive of pickles.
pub(super) fn sniff(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [b'P', b'K', 3, 4, ..] => Some("a zip archive, as torch.save writes"),
        // Opcode PROTO and a version: how every pickle since protocol 2 begins. A safetensors file that begins so would
        // have a header of 0x280 to 0x5ff bytes; its ninth byte is a brace.
        [0x80, 2..=5, ..] if bytes.get(8) != Some(&b'{') => Some("a Python pickle"),
        _ => None,
    }
}

/// Does a file of this name usually hold a pickle?
pub(super) fn is_suspect(name: &str) -> bool {
    ENDINGS.iter().any(|ending| name.to_ascii_lowercase().ends_with(ending))
}

/// Why such a file is refused, and what to do instead.
pub(super) fn refusal(what: &str) -> String {
    format!(
        "{what}: such files can run code when they are loaded and are refused; save the weights with \
         safetensors.torch.save_file(model.state_dict(), \"model.safetensors\")"
    )
}
