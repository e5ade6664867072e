//! The last minute in a few cells.

use super::theme::Theme;

/// A bar per value, the highest as high as a cell; nothing but zeroes is a flat line.
pub(super) fn line(values: &[f64], theme: Theme) -> String {
    let bars = theme.bars();
    let most = values.iter().copied().fold(0.0, f64::max);
    values
        .iter()
        .map(|value| {
            // The cast saturates; what is not nothing is seen.
            let height = match value / most {
                share if !share.is_finite() || share <= 0.0 => 0,
                share => ((share * 7.0).round() as usize).clamp(1, 7),
            };
            bars[height]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_fills_its_cell_and_little_is_seen() {
        let theme = Theme::default();
        assert_eq!(line(&[0.0, 1.0, 50.0, 100.0], theme), "▁▂▅█");
        assert_eq!(line(&[0.0, 0.0], theme), "▁▁");
        assert_eq!(line(&[], theme), "");
    }
}
