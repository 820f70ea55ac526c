//! What a readable target can do, the same for all of them.

use std::{fmt, pin::Pin};

use crate::Error;

/// The answer to a question to a store.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// An open connection to a folder of files. There is no way to replace a file, and none to remove one but a test's.
pub(crate) trait Store: Send {
    /// Makes the folder when it is not there.
    fn prepare(&mut self) -> Answer<'_, ()>;
    /// The names of all files.
    fn names(&mut self) -> Answer<'_, Vec<String>>;
    /// A whole file, at most [`crate::scb::MAX_BYTES`].
    fn read<'a>(&'a mut self, name: &'a str) -> Answer<'a, Vec<u8>>;
    /// Makes a file: whole or not at all under its name, and never in place of another ([`Error::Exists`]).
    fn create<'a>(&'a mut self, name: &'a str, bytes: &'a [u8]) -> Answer<'a, ()>;
    /// Removes a test's file.
    fn remove<'a>(&'a mut self, test: &'a TestFile) -> Answer<'a, ()>;
}

/// The name of a file that a test may remove again.
#[derive(Debug, Clone)]
pub(crate) struct TestFile(String);

impl TestFile {
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self(format!("homebolt-test-{}.bin", hex::encode(random::<8>()?))))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TestFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(bytes)
}

/// Under which name a file is written before it gets its own: hidden, and of one writer alone. A second one, as after a
/// restart in the middle of a push, would empty it under the first one's hands.
pub(crate) fn part(name: &str) -> Result<String, Error> {
    Ok(format!(".{name}.{}.new", hex::encode(random::<4>()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_writers_of_one_copy_have_each_a_hidden_part_that_nobody_takes_for_a_copy() {
        let (one, two) = (part("scb-20261121T141740.123Z-12-ba7816bf.bin").unwrap(), part("x").unwrap());
        let again = part("scb-20261121T141740.123Z-12-ba7816bf.bin").unwrap();
        assert!(one != again && one.starts_with('.') && two.starts_with(".x."), "{one} {again} {two}");
        assert!(one.parse::<crate::Name>().is_err());
    }
}
