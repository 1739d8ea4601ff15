//! What a guest wrote, made fit for a terminal and a log line.

/// One line, without control characters, of at most `max` bytes.
pub(super) fn line(text: &str, max: usize) -> String {
    clean(text, max, false)
}

/// As [`line`], but newlines and tabs stay.
pub(super) fn block(text: &str, max: usize) -> String {
    clean(text, max, true)
}

fn clean(text: &str, max: usize, multiline: bool) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        if out.len() >= max {
            out.push('…');
            break;
        }
        if multiline && matches!(c, '\n' | '\t') {
            out.push(c);
        } else if c.is_control() || is_format(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that are not seen but change how the text around them is shown.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        assert_eq!(line("a\nb\x1b[31m\t\u{202e}é", 100), "a\\nb\\u{1b}[31m\\t\\u{202e}é");
        assert_eq!(block("a\nb\tc\r\x07", 100), "a\nb\tc\\r\\u{7}");
        assert_eq!(line("ééé", 3), "éé…");
    }
}
