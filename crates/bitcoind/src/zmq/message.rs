//! bitcoind's messages: topic, body, and a number that counts the messages of that topic since bitcoind started.

/// What we subscribe to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    RawBlock,
    RawTx,
    Sequence,
}

impl Topic {
    pub const ALL: [Self; 3] = [Self::RawBlock, Self::RawTx, Self::Sequence];

    /// On the wire. With `pub` in front it is what `getzmqnotifications` calls it, with `zmqpub` the option.
    pub fn name(self) -> &'static str {
        match self {
            Self::RawBlock => "rawblock",
            Self::RawTx => "rawtx",
            Self::Sequence => "sequence",
        }
    }
}

/// What a message tells. The bodies of blocks and transactions are not kept: whoever wants to know reads the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    Block,
    Transaction,
    /// The chain grew or shrank by one block.
    BlockConnected,
    BlockDisconnected,
    /// A transaction came into the mempool or left it otherwise than into a block.
    MempoolAdded,
    MempoolRemoved,
    /// Another topic of bitcoind's; its name.
    Other(String),
}

impl News {
    pub fn topic(&self) -> Option<Topic> {
        match self {
            Self::Block => Some(Topic::RawBlock),
            Self::Transaction => Some(Topic::RawTx),
            Self::BlockConnected | Self::BlockDisconnected | Self::MempoolAdded | Self::MempoolRemoved => {
                Some(Topic::Sequence)
            }
            Self::Other(_) => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub news: News,
    pub number: u32,
}

/// A header, and the count of one transaction.
const SHORTEST_BLOCK: usize = 81;
/// Version, one input without script, one output without script, lock time.
const SHORTEST_TX: usize = 60;
const HASH: usize = 32;
/// Hash, label, and the mempool's own number where there is one.
const SEQUENCE_BODIES: (usize, usize) = (HASH + 1, HASH + 1 + 8);
const LONGEST_NAME: usize = 32;

impl Message {
    /// Reads the parts of one ZMQ message.
    pub fn parse(parts: &[Vec<u8>]) -> Result<Self, &'static str> {
        let [name, body, number] = parts else { return Err("a message that is not topic, body and number") };
        let number = <[u8; 4]>::try_from(number.as_slice()).map_err(|_| "a number that has not four bytes")?;
        let news = match name.as_slice() {
            b"rawblock" if body.len() < SHORTEST_BLOCK => return Err("a block shorter than its header"),
            b"rawblock" => News::Block,
            b"rawtx" if body.len() < SHORTEST_TX => return Err("a transaction too short to be one"),
            b"rawtx" => News::Transaction,
            b"sequence" => sequence(body)?,
            name if !name.is_empty() && name.len() <= LONGEST_NAME && name.iter().all(u8::is_ascii_alphanumeric) => {
                News::Other(name.iter().map(|&byte| char::from(byte)).collect())
            }
            _ => return Err("a topic that is no name"),
        };
        Ok(Self { news, number: u32::from_le_bytes(number) })
    }
}

fn sequence(body: &[u8]) -> Result<News, &'static str> {
    let (short, long) = SEQUENCE_BODIES;
    match (body.get(HASH), body.len()) {
        (Some(b'C'), length) if length == short => Ok(News::BlockConnected),
        (Some(b'D'), length) if length == short => Ok(News::BlockDisconnected),
        (Some(b'A'), length) if length == long => Ok(News::MempoolAdded),
        (Some(b'R'), length) if length == long => Ok(News::MempoolRemoved),
        _ => Err("a sequence message of an unknown shape"),
    }
}

/// The numbers of one topic on one connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sequence {
    last: Option<u32>,
}

/// How one number follows the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    First,
    Next,
    /// So many messages did not come.
    Gap(u32),
    /// The count went back: it is another bitcoind's, or it was started anew.
    Back,
}

impl Sequence {
    /// Takes note of a number. After the highest comes 0.
    pub fn see(&mut self, number: u32) -> Step {
        let Some(last) = self.last.replace(number) else { return Step::First };
        match number.wrapping_sub(last.wrapping_add(1)) {
            0 => Step::Next,
            // Half of all numbers are ahead, the other half behind.
            missed if missed < 1 << 31 => Step::Gap(missed),
            _ => Step::Back,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(topic: &str, body: &[u8], number: &[u8]) -> Vec<Vec<u8>> {
        vec![topic.as_bytes().to_vec(), body.to_vec(), number.to_vec()]
    }

    #[test]
    fn messages_are_read_and_the_number_is_little_endian() {
        let message = Message::parse(&parts("rawblock", &[0; 100], &[1, 2, 0, 0])).unwrap();
        assert_eq!(message, Message { news: News::Block, number: 513 });
        let label = |label: u8, length: usize| {
            let mut body = vec![0; length];
            body[HASH] = label;
            Message::parse(&parts("sequence", &body, &[0; 4])).map(|message| message.news)
        };
        assert_eq!(label(b'C', 33), Ok(News::BlockConnected));
        assert_eq!(label(b'A', 41), Ok(News::MempoolAdded));
        assert!(label(b'C', 41).is_err() && label(b'A', 33).is_err() && label(b'X', 33).is_err());
        let other = Message::parse(&parts("hashblock", &[0; 32], &[0; 4])).unwrap();
        assert_eq!(other.news, News::Other("hashblock".into()));
    }

    #[test]
    fn malformed_messages_are_refused() {
        let good = parts("rawtx", &[0; 60], &[0; 4]);
        assert!(Message::parse(&good).is_ok());
        for wrong in [
            vec![],
            good[..2].to_vec(),
            [good.clone(), vec![vec![]]].concat(),
            parts("rawtx", &[0; 59], &[0; 4]),
            parts("rawtx", &[0; 60], &[0; 3]),
            parts("rawtx", &[0; 60], &[0; 5]),
            parts("rawblock", &[0; 80], &[0; 4]),
            parts("", &[0; 80], &[0; 4]),
            parts("<b>", &[0; 80], &[0; 4]),
        ] {
            assert!(Message::parse(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_gap_is_seen_across_the_wrap_too() {
        let mut numbers = Sequence::default();
        assert_eq!(numbers.see(u32::MAX - 1), Step::First);
        assert_eq!(numbers.see(u32::MAX), Step::Next);
        assert_eq!(numbers.see(0), Step::Next);
        assert_eq!(numbers.see(4), Step::Gap(3));
        assert_eq!(numbers.see(4), Step::Back);
        assert_eq!(numbers.see(0), Step::Back);
        assert_eq!(numbers.see(1), Step::Next);
        let mut wrapping = Sequence { last: Some(u32::MAX - 1) };
        assert_eq!(wrapping.see(1), Step::Gap(2));
    }

    proptest! {
        #[test]
        fn no_parts_make_the_parser_fall_over(
            topic in "rawtx|rawblock|sequence|\\PC{0,9}", body: Vec<u8>, number in prop::collection::vec(any::<u8>(), 0..6),
        ) {
            let well = Message::parse(&parts(&topic, &body, &number)).is_ok();
            prop_assert!(!well || number.len() == 4);
        }

        #[test]
        fn as_many_are_missed_as_were_left_out(start: u32, left_out in 1u32..1000) {
            let mut numbers = Sequence::default();
            numbers.see(start);
            prop_assert_eq!(numbers.see(start.wrapping_add(1 + left_out)), Step::Gap(left_out));
        }
    }
}
