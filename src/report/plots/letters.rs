//! The one font of all pictures: DejaVu Sans 2.37, cut to the letters that plots use, and the widths of its letters.

/// The font file; its licence stands beside it.
pub(super) static FONT: &[u8] = include_bytes!("dejavu-sans-subset.ttf");
/// Its name.
pub(super) const FAMILY: &str = "DejaVu Sans";

/// Parts of the font's unit square, which is one font size wide.
const UNITS: f64 = 2048.0;

/// Advance widths of U+0020 to U+007E, from the table `hmtx` of the font.
const WIDTHS: [u16; 95] = [
    651, 821, 942, 1716, 1303, 1946, 1597, 563, 799, 799, 1024, 1716, 651, 739, 651, 690, 1303, 1303, 1303, 1303, 1303,
    1303, 1303, 1303, 1303, 1303, 690, 690, 1716, 1716, 1716, 1087, 2048, 1401, 1405, 1430, 1577, 1294, 1178, 1587,
    1540, 604, 604, 1343, 1141, 1767, 1532, 1612, 1235, 1612, 1423, 1300, 1251, 1499, 1401, 2025, 1403, 1251, 1403,
    799, 690, 799, 1716, 1024, 1024, 1255, 1300, 1126, 1300, 1260, 721, 1300, 1298, 569, 569, 1186, 569, 1995, 1298,
    1253, 1300, 1300, 842, 1067, 803, 1298, 1212, 1675, 1212, 1212, 1075, 1303, 690, 1303, 1716,
];

/// How wide a letter is, over the font size. One that the font lacks counts as an M.
pub(super) fn width(letter: char) -> f64 {
    let units = match letter {
        ' '..='~' => WIDTHS[letter as usize - ' ' as usize],
        '°' => 1024,
        '²' => 821,
        'µ' | 'μ' => 1303,
        '·' | '\u{a0}' => 651,
        '–' => 1024,
        '…' => 2048,
        '±' | '×' | '→' | '−' | '≤' | '≥' => 1716,
        _ => 1767,
    };
    f64::from(units) / UNITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_equally_wide_and_an_i_is_narrower_than_an_m() {
        assert!(('0'..='9').all(|digit| width(digit) == 1303.0 / 2048.0));
        assert!(width('i') < width('m'));
    }
}
