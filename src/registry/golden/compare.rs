//! Is an answer the one that was expected? By row: floats within a tolerance, everything else exactly.

use crate::types::Tensor;

/// Values of a row that are shown.
const SHOWN_MAX: usize = 8;

/// What the first row is that differs, and how; `None` if no row does.
///
/// The error of a row of floats is `max|a − b| / max|b|`, `b` being what is expected; of a row of zeros, `max|a|`.
pub fn differs(wanted: &Tensor, got: &Tensor, tolerance: f64) -> Option<String> {
    if (wanted.dtype(), wanted.shape()) != (got.dtype(), got.shape()) {
        let shown = |tensor: &Tensor| format!("{} of {}", tensor.shape(), tensor.dtype());
        return Some(format!("expected {}, got {}", shown(wanted), shown(got)));
    }
    let ones = vec![1; wanted.shape().rows()?];
    let rows = wanted.split(&ones)?.into_iter().zip(got.split(&ones)?);
    rows.enumerate().find_map(|(row, (wanted, got))| {
        let difference = row_differs(&wanted, &got, tolerance)?;
        Some(format!("row {row}: expected {}, got {}: {difference}", show(&wanted), show(&got)))
    })
}

fn row_differs(wanted: &Tensor, got: &Tensor, tolerance: f64) -> Option<String> {
    let (Some(expected), Some(came)) = (wanted.to_f32(), got.to_f32()) else {
        return (wanted.data() != got.data()).then(|| "they are not the same".to_owned());
    };
    let (mut largest, mut off) = (0.0_f64, 0.0_f64);
    for (expected, came) in expected.iter().zip(&came) {
        let difference = (f64::from(*expected) - f64::from(*came)).abs();
        if difference.is_nan() {
            return Some("not every value is a number".to_owned());
        }
        largest = largest.max(f64::from(*expected).abs());
        off = off.max(difference);
    }
    let error = if largest > 0.0 { off / largest } else { off };
    (error > tolerance).then(|| format!("they differ by {error:.3e}, at most {tolerance:e} is tolerated"))
}

/// The first values of a row.
fn show(row: &Tensor) -> String {
    let Some(values) = row.to_f32() else {
        let bytes: Vec<String> = row.data().iter().take(SHOWN_MAX).map(|byte| format!("{byte:02x}")).collect();
        let rest = if row.data().len() > SHOWN_MAX { " …" } else { "" };
        return format!("bytes {}{rest}", bytes.join(" "));
    };
    let shown: Vec<String> = values.iter().take(SHOWN_MAX).map(f32::to_string).collect();
    let rest = if values.len() > SHOWN_MAX { ", …" } else { "" };
    format!("[{}{rest}]", shown.join(", "))
}
