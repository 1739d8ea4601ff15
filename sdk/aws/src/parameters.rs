//! What a call says.

/// The parameters of a call, in the flat form of the query protocol: `Tag.1.Key=a&Tag.1.Value=b`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.0.push((name.into(), value.to_string()));
        self
    }

    /// With one more, if there is a value.
    #[must_use]
    pub fn maybe(self, name: impl Into<String>, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self,
        }
    }

    /// With all of these.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// With a list: `<name>.1`, `<name>.2`. RDS puts the name of a member in between: `VpcSecurityGroupIds.VpcSecurityGroupId`.
    #[must_use]
    pub fn list<T: ToString>(mut self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        let numbered = values.into_iter().zip(1..);
        self.0.extend(numbered.map(|(value, n): (T, u32)| (format!("{name}.{n}"), value.to_string())));
        self
    }

    /// With a list of structures: `<name>.1.<field>`.
    #[must_use]
    pub fn structures(mut self, name: &str, structures: impl IntoIterator<Item = Parameters>) -> Self {
        for (structure, n) in structures.into_iter().zip(1u32..) {
            self.0.extend(structure.0.into_iter().map(|(field, value)| (format!("{name}.{n}.{field}"), value)));
        }
        self
    }

    /// With tags, as RDS wants them: `Tags.Tag.1.Key`; EC2 has other names for the list.
    #[must_use]
    pub fn tags(self, name: &str, tags: &[(String, String)]) -> Self {
        self.structures(name, tags.iter().map(|(key, value)| Self::new().set("Key", key).set("Value", value)))
    }

    /// `application/x-www-form-urlencoded`, with `%20` for a space, which is right in a query string too.
    #[must_use]
    pub fn encode(&self) -> String {
        let pairs: Vec<_> =
            self.0.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        pairs.join("&")
    }
}

fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_parameters_are_flat() {
        let tags = [("bkhost:run".to_owned(), "a b".to_owned()), ("k".to_owned(), "ü&=+".to_owned())];
        let parameters = Parameters::new()
            .set("MultiAZ", true)
            .maybe("Iops", Some(3000))
            .maybe("Port", None::<u16>)
            .list("VpcSecurityGroupIds.VpcSecurityGroupId", ["sg-1", "sg-2"])
            .tags("Tags.Tag", &tags);
        assert_eq!(
            parameters.encode(),
            "MultiAZ=true&Iops=3000&VpcSecurityGroupIds.VpcSecurityGroupId.1=sg-1&VpcSecurityGroupIds.VpcSecurityGroupId.2=sg-2\
             &Tags.Tag.1.Key=bkhost%3Arun&Tags.Tag.1.Value=a%20b&Tags.Tag.2.Key=k&Tags.Tag.2.Value=%C3%BC%26%3D%2B"
        );
    }
}
