//! What a service answers.

use roxmltree::{Document, Node, ParsingOptions};

/// An element of an answer, without its attributes and namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// Read an answer.
    ///
    /// # Errors
    /// What is wrong with it. Document types are refused.
    pub fn parse(text: &str) -> Result<Self, String> {
        let options = ParsingOptions { allow_dtd: false, nodes_limit: 1_000_000, ..ParsingOptions::default() };
        let document = Document::parse_with_options(text, options).map_err(|error| error.to_string())?;
        Ok(Self::of(document.root_element(), 0))
    }

    fn of(node: Node<'_, '_>, depth: u32) -> Self {
        // No answer is that deep; one that was must not overflow the stack.
        let below = if depth < 64 { Some(node.children()) } else { None };
        Self {
            name: node.tag_name().name().to_owned(),
            text: node.text().unwrap_or_default().trim().to_owned(),
            children: below
                .into_iter()
                .flatten()
                .filter(Node::is_element)
                .map(|child| Self::of(child, depth + 1))
                .collect(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text in it.
    #[must_use]
    pub fn content(&self) -> &str {
        &self.text
    }

    /// All below it, directly.
    #[must_use]
    pub fn children(&self) -> &[Self] {
        &self.children
    }

    /// The first element at this path of names: `DBSubnetGroup/DBSubnetGroupName`.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Self> {
        path.split('/').try_fold(self, |element, name| element.children.iter().find(|child| child.name == name))
    }

    /// The text at this path; none if there is no such element, or nothing in it.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&str> {
        self.at(path).map(|element| element.text.as_str()).filter(|text| !text.is_empty())
    }

    /// The text at this path; empty if there is none.
    #[must_use]
    pub fn text(&self, path: &str) -> &str {
        self.get(path).unwrap_or_default()
    }

    /// The number at this path.
    #[must_use]
    pub fn number<T: std::str::FromStr>(&self, path: &str) -> Option<T> {
        self.get(path)?.parse().ok()
    }

    /// Whether the text at this path is `true`.
    #[must_use]
    pub fn flag(&self, path: &str) -> bool {
        self.get(path).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// The elements of the list at this path.
    #[must_use]
    pub fn list(&self, path: &str) -> &[Self] {
        self.at(path).map_or(&[], |list| list.children.as_slice())
    }

    /// The value of a tag in the list at this path (`TagList` of RDS, `tagSet` of EC2).
    #[must_use]
    pub fn tag(&self, list: &str, key: &str) -> Option<&str> {
        let of = |tag: &Self| tag.get("Key").or_else(|| tag.get("key")) == Some(key);
        let tag = self.list(list).iter().find(|tag| of(tag))?;
        Some(tag.get("Value").or_else(|| tag.get("value")).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"<?xml version="1.0"?><A xmlns="http://rds.amazonaws.com/doc/2014-10-31/"><R><List><I><Id>a &amp; b</Id>
        <On>true</On><N>20</N><TagList><Tag><Key>k</Key><Value>v</Value></Tag><Tag><Key>e</Key><Value/></Tag></TagList></I><I/></List>
        <Empty/></R></A>"#;

    #[test]
    fn elements_are_found_by_their_paths() {
        let answer = Element::parse(ANSWER).unwrap();
        assert_eq!(answer.list("R/List").len(), 2);
        let item = &answer.list("R/List")[0];
        assert_eq!((item.text("Id"), item.flag("On"), item.number("N")), ("a & b", true, Some(20u32)));
        assert_eq!(
            (item.tag("TagList", "k"), item.tag("TagList", "e"), item.tag("TagList", "x")),
            (Some("v"), Some(""), None)
        );
        assert_eq!((answer.get("R/Empty"), answer.get("R/None"), answer.list("R/None").len()), (None, None, 0));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in ["", "<a><b></a>", "{}", "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", "<html><br></html>"] {
            assert!(Element::parse(text).is_err(), "{text}");
        }
    }
}
