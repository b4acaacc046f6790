//! PNG from the SVG of a plot: the same pixels on every machine, because the only font is the one of the program.

use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use crate::report::plots::canvas::{BOTH_COLUMNS, COLUMN};
use crate::report::plots::letters;

/// Pixels to the inch.
const RESOLUTION: f32 = 300.0;
/// Units of an SVG to the inch (CSS pixels).
const UNITS_PER_INCH: f32 = 96.0;

/// The most pixels along a side. A picture of so many rows that it needs more has fewer pixels to the inch.
const MOST_PIXELS: f32 = 16_384.0;

/// The picture `svg` at 300 pixels to the inch, or at as many as its longer side allows.
pub(super) fn of(svg: &str) -> Vec<u8> {
    const OURS: &str = "the picture is one of ours";
    let mut fonts = fontdb::Database::new();
    fonts.load_font_data(letters::FONT.to_vec());
    let options = Options { fontdb: Arc::new(fonts), font_family: letters::FAMILY.to_owned(), ..Options::default() };
    let tree = Tree::from_str(svg, &options).expect(OURS);
    let longer = tree.size().width().max(tree.size().height());
    let scale = (RESOLUTION / UNITS_PER_INCH).min(MOST_PIXELS / longer);
    let side = |units: f32| (units * scale).round().max(1.0) as u32;
    let mut pixels = Pixmap::new(side(tree.size().width()), side(tree.size().height())).expect(OURS);
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
    pixels.encode_png().expect(OURS)
}

/// Whether `png` was drawn here, as far as its header tells (PNG specification, sections 5.3 and 11.2.2): as wide as the
/// pictures are, 8 bits RGBA, and pixels right behind, where other tools put the resolution and their name.
pub(super) fn is_ours(png: &[u8]) -> bool {
    const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a];
    let widths = [COLUMN, BOTH_COLUMNS].map(|points| (points * f64::from(RESOLUTION) / 72.0).round() as u32);
    let number = |at: usize| png.get(at..at + 4).map(|bytes| u32::from_be_bytes(bytes.try_into().expect("four bytes")));
    png.starts_with(&SIGNATURE)
        && number(16).is_some_and(|width| widths.contains(&width))
        && png.get(24..26) == Some(&[8, 6])
        && png.get(37..41) == Some(b"IDAT")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::plots::canvas::{Anchor, BLACK, picture};

    #[test]
    fn a_column_of_three_and_a_half_inches_is_1050_pixels_wide_and_has_text() {
        let blank = of(&picture(252.0, 144.0, |_| {}));
        let written =
            of(&picture(252.0, 144.0, |canvas| canvas.text((126.0, 72.0), "cycles", 8.0, Anchor::Middle, BLACK)));
        // The header chunk of a PNG holds width and height from byte 16 on (PNG specification, section 11.2.2).
        let size = |png: &[u8]| [16, 20].map(|at| u32::from_be_bytes(png[at..at + 4].try_into().unwrap()));
        assert_eq!(size(&blank), [1050, 600]);
        assert!(is_ours(&blank) && is_ours(&of(&picture(516.0, 144.0, |_| {}))));
        assert!(!is_ours(&of(&picture(250.0, 144.0, |_| {}))) && !is_ours(&blank[..30]) && !is_ours(b"x"));
        assert!(written.len() > blank.len() + 200, "{} and {}", written.len(), blank.len());
    }
}
