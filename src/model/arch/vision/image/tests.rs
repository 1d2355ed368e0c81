//! tmp
use super::Encoded;
#[test]
fn tmp_dump() {
    for entry in std::fs::read_dir("/tmp/jpegx/pics").unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let t = tokio::time::Instant::now();
        match Encoded::read(&bytes).and_then(Encoded::decode) {
            Ok(p) => { println!("{name} {}x{} {:?}", p.width, p.height, t.elapsed()); std::fs::write(format!("/tmp/jpegx/out/{name}.own"), &p.pixels).unwrap() },
            Err(e) => println!("{name}: {e}"),
        }
    }
}
