//! Lists of logs that witnesses are asked to cosign (witness-network.org, format `logs/v0`).
//!
//! ```text
//! logs/v0
//!
//! vkey <name>+<key ID>+<base64>
//! origin <origin>          (only where it is not the key's name)
//! qpd <requests a day, 1 to 2147483647>
//! contact <whom to tell>
//! ```
//!
//! Lines are trimmed; empty ones and those that begin with `#` are passed over. The four lines of a
//! log stand in this order. Lines with a keyword that is not known are passed over too, so that a
//! list that says more does not cut off all its readers; a log whose key is of another type, or
//! whose lines are wrong, is passed over and named: one log spoils no list.

use std::collections::{BTreeMap, BTreeSet};

use diogenes_common::note::VkeyError;

use crate::log::{LogKey, LogKeyError, LogName, NotALogName};

/// The longest list that is read: one of 40,000 logs has less than a third of it.
pub const MAX_LIST_BYTES: usize = 16 * 1024 * 1024;

/// A log of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedLog {
    /// Its name.
    pub origin: LogName,
    /// The key that signs its checkpoints.
    pub key: LogKey,
}

/// What a list says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogList {
    /// The logs, in the order of the list.
    pub logs: Vec<ListedLog>,
    /// The lines with keys of a type that is not used here.
    pub passed_over: Vec<usize>,
    /// What is wrong with the logs that were left out.
    pub faults: Vec<ListError>,
    /// How many requests a day each log is said to make.
    pub quotas: BTreeMap<LogName, u32>,
}

/// Why a text is not a list of logs, or a part of it not one of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the list: {fault}")]
pub struct ListError {
    /// Which line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub fault: ListFault,
}

/// What can be wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListFault {
    /// More than [`MAX_LIST_BYTES`], or not UTF-8.
    #[error("the list is longer than 16 MiB or not UTF-8")]
    Unreadable,
    /// The first line that says something is not `logs/v0`.
    #[error("a list begins with the line logs/v0")]
    NotAList,
    /// The lines of a log are not in their order, or one is missing.
    #[error("a log has the lines vkey, perhaps origin, qpd, contact, in this order")]
    Order,
    /// The key cannot be used.
    #[error(transparent)]
    Key(LogKeyError),
    /// The origin is none.
    #[error(transparent)]
    Origin(#[from] NotALogName),
    /// The number of requests is none.
    #[error("qpd is a number from 1 to 2147483647")]
    Qpd,
    /// Nobody to tell.
    #[error("contact says whom to tell")]
    Contact,
    /// One origin twice.
    #[error("the origin stands in this list twice")]
    Twice,
}

/// What comes next.
enum Expect {
    Header,
    /// The lines of a log that is left out go on.
    NextVkey,
    Vkey,
    OriginOrQpd,
    Qpd,
    Contact,
}

impl LogList {
    /// Reads a list.
    pub fn parse(list: &[u8]) -> Result<Self, ListError> {
        let unreadable = ListError { line: 1, fault: ListFault::Unreadable };
        if list.len() > MAX_LIST_BYTES {
            return Err(unreadable);
        }
        let text = std::str::from_utf8(list).map_err(|_| unreadable)?;
        let mut reader = Reader::new();
        let mut reached = 1;
        for (line, text) in (1..).zip(text.lines()) {
            reached = line;
            reader.take(line, text.trim())?;
        }
        reader.finish(reached)
    }
}

/// A list that is read line by line.
struct Reader {
    expect: Expect,
    list: LogList,
    seen: BTreeSet<LogName>,
    /// The key of the log whose lines are read; none if it is of another type.
    key: Option<LogKey>,
    origin: Option<LogName>,
    quota: u32,
}

impl Reader {
    fn new() -> Self {
        let (list, seen) = (LogList::default(), BTreeSet::new());
        Self { expect: Expect::Header, list, seen, key: None, origin: None, quota: 0 }
    }

    fn take(&mut self, number: usize, line: &str) -> Result<(), ListError> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Expect::Header = self.expect {
            self.expect = Expect::Vkey;
            let not_a_list = ListError { line: number, fault: ListFault::NotAList };
            return if line == "logs/v0" { Ok(()) } else { Err(not_a_list) };
        }
        let begins = line == "vkey" || line.starts_with("vkey ") || line.starts_with("vkey\t");
        if begins && !matches!(self.expect, Expect::Vkey) {
            if !matches!(self.expect, Expect::NextVkey) {
                self.leave_out(number, ListFault::Order);
            }
            self.expect = Expect::Vkey;
        }
        if let Err(fault) = self.take_of_log(number, line) {
            self.leave_out(number, fault);
        }
        Ok(())
    }

    fn leave_out(&mut self, line: usize, fault: ListFault) {
        self.list.faults.push(ListError { line, fault });
        self.expect = Expect::NextVkey;
    }

    fn take_of_log(&mut self, number: usize, line: &str) -> Result<(), ListFault> {
        let (keyword, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let value = value.trim();
        self.expect = match (keyword, &self.expect) {
            (_, Expect::NextVkey) => return Ok(()),
            ("vkey", Expect::Vkey) => {
                self.key = self.key(number, value)?;
                self.origin = None;
                Expect::OriginOrQpd
            }
            ("origin", Expect::OriginOrQpd) => {
                self.origin = Some(value.parse()?);
                Expect::Qpd
            }
            ("qpd", Expect::OriginOrQpd | Expect::Qpd) => {
                let number = value.parse::<u32>().ok();
                let number =
                    number.filter(|number| (1..=i32::MAX.cast_unsigned()).contains(number));
                self.quota = number.ok_or(ListFault::Qpd)?;
                Expect::Contact
            }
            ("contact", Expect::Contact) => {
                if value.is_empty() {
                    return Err(ListFault::Contact);
                }
                self.end_log()?;
                Expect::Vkey
            }
            ("vkey" | "origin" | "qpd" | "contact", _) => return Err(ListFault::Order),
            _ => return Ok(()),
        };
        Ok(())
    }

    fn key(&mut self, number: usize, vkey: &str) -> Result<Option<LogKey>, ListFault> {
        match vkey.parse() {
            Ok(key) => Ok(Some(key)),
            Err(LogKeyError::NotALogs | LogKeyError::Vkey(VkeyError::UnknownType)) => {
                self.list.passed_over.push(number);
                Ok(None)
            }
            Err(error) => Err(ListFault::Key(error)),
        }
    }

    fn end_log(&mut self) -> Result<(), ListFault> {
        let Some(key) = self.key.take() else { return Ok(()) };
        let origin = match self.origin.take() {
            Some(origin) => origin,
            None => key.vkey().name().as_str().parse()?,
        };
        if !self.seen.insert(origin.clone()) {
            return Err(ListFault::Twice);
        }
        self.list.quotas.insert(origin.clone(), self.quota);
        self.list.logs.push(ListedLog { origin, key });
        Ok(())
    }

    fn finish(mut self, line: usize) -> Result<LogList, ListError> {
        match self.expect {
            Expect::Vkey | Expect::NextVkey => {}
            Expect::Header => return Err(ListError { line, fault: ListFault::NotAList }),
            Expect::OriginOrQpd | Expect::Qpd | Expect::Contact => {
                self.leave_out(line, ListFault::Order);
            }
        }
        Ok(self.list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "go.sum.example+daf2c6ec+AXPMwaimVSS5UZIZSYD8kEQU6oUHm0kn3u8bQpjOAVSS";

    fn read(text: &str) -> Result<LogList, ListFault> {
        let list = LogList::parse(text.as_bytes()).map_err(|error| error.fault)?;
        match list.faults.first() {
            Some(error) => Err(error.fault),
            None => Ok(list),
        }
    }

    fn vkey() -> String {
        crate::testing::History::honest().log_key().to_string()
    }

    #[test]
    fn the_lists_of_the_witness_network_are_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/witness-network");
        for (name, logs) in [
            ("testing-log-list.1", 9),
            ("log-list-10qps-4klogs.1", 1),
            ("log-list-100qps-40klogs.1", 11),
        ] {
            let list = std::fs::read(format!("{folder}/{name}")).unwrap();

            let list = LogList::parse(&list).unwrap_or_else(|error| panic!("{name}: {error}"));

            assert_eq!((list.logs.len(), list.passed_over.len()), (logs, 0), "{name}");
        }
    }

    #[test]
    fn an_origin_is_the_keys_name_unless_it_is_given() {
        let key = vkey();
        let name = key.split('+').next().unwrap();
        let list = format!(
            "# a list\n\n  logs/v0  \nvkey {key}\n# between\nqpd 1\ncontact a@b\n\n\
             vkey {key}\norigin go.sum database tree\n\tqpd 2147483647\ncontact somebody else\n"
        );

        let logs = read(&list).unwrap().logs;

        let origins: Vec<&str> = logs.iter().map(|log| log.origin.as_str()).collect();
        assert_eq!(origins, [name, "go.sum database tree"]);
        assert!(logs.iter().all(|log| log.key.to_string() == key));
    }

    #[test]
    fn keywords_that_are_not_known_are_passed_over() {
        let list = format!("logs/v0\nvkey {}\nurl https://x\nqpd 1\ncontact a\nend\n", vkey());

        assert_eq!(read(&list).map(|list| list.logs.len()), Ok(1));
    }

    #[test]
    fn a_key_of_another_type_leaves_its_log_out_and_no_other() {
        let history = crate::testing::History::honest();
        let name = "w.example".parse().unwrap();
        let key = history.operator().public().clone();
        let kind = diogenes_common::note::KeyKind::Cosignature;
        let witness = diogenes_common::note::Vkey::new(name, kind, key);
        let list = format!(
            "logs/v0\nvkey {witness}\nqpd 1\ncontact a\nvkey {}\nqpd 1\ncontact a\n",
            vkey()
        );

        let list = read(&list).unwrap();

        assert_eq!((list.logs.len(), list.passed_over), (1, vec![2]));
    }

    #[test]
    fn each_fault_of_a_list_has_its_name() {
        let key = vkey();
        let whole = format!("vkey {key}\nqpd 1\ncontact a\n");
        let rows = [
            (String::new(), ListFault::NotAList),
            ("logs/v1\n".to_owned(), ListFault::NotAList),
            (whole.clone(), ListFault::NotAList),
            ("logs/v0\nqpd 1\n".to_owned(), ListFault::Order),
            (format!("logs/v0\nvkey {key}\ncontact a\n"), ListFault::Order),
            (format!("logs/v0\nvkey {key}\nqpd 1\norigin x\n"), ListFault::Order),
            (format!("logs/v0\nvkey {key}\nqpd 1\n"), ListFault::Order),
            (format!("logs/v0\nvkey {key}\nvkey {key}\n"), ListFault::Order),
            (format!("logs/v0\nvkey {key}\nqpd 0\n"), ListFault::Qpd),
            (format!("logs/v0\nvkey {key}\nqpd 2147483648\n"), ListFault::Qpd),
            (format!("logs/v0\nvkey {key}\nqpd 1\ncontact\n"), ListFault::Contact),
            (format!("logs/v0\nvkey {key}\norigin\n"), ListFault::Origin(NotALogName)),
            (format!("logs/v0\n{whole}{whole}"), ListFault::Twice),
        ];
        for (list, fault) in rows {
            assert_eq!(read(&list), Err(fault), "{list}");
        }
        let wrong_id = format!("logs/v0\nvkey {ONE}\n");
        assert!(matches!(read(&wrong_id), Err(ListFault::Key(_))), "{wrong_id}");
        let named = LogList::parse(b"logs/v0\n\nqpd\n").unwrap().faults;
        assert_eq!(named[0].line, 3, "the line is named");
        assert_eq!(
            LogList::parse(b"logs/v0\n\xff").map_err(|error| error.fault),
            Err(ListFault::Unreadable)
        );
    }

    #[test]
    fn a_log_whose_lines_are_wrong_is_left_out_and_no_other() {
        let key = vkey();
        let log = |origin: &str, qpd: &str| {
            format!("vkey {key}\norigin {origin}\nqpd {qpd}\ncontact a\n")
        };
        let list = format!(
            "logs/v0\n{}{}vkey x\norigin c\nqpd 1\ncontact a\nvkey {key}\n{}{}vkey {key}\n",
            log("a", "7"),
            log("b", "many"),
            log("d", "8"),
            log("a", "9"),
        );

        let list = LogList::parse(list.as_bytes()).unwrap();

        let kept: Vec<_> =
            list.logs.iter().map(|log| (log.origin.as_str(), list.quotas[&log.origin])).collect();
        assert_eq!(kept, [("a", 7), ("d", 8)]);
        let lines: Vec<usize> = list.faults.iter().map(|error| error.line).collect();
        assert_eq!(lines, [8, 10, 15, 22, 23]);
    }

    #[test]
    fn a_list_of_forty_thousand_logs_is_read() {
        let key = vkey();
        let log =
            |number| format!("vkey {key}\norigin log {number}\nqpd 216\ncontact a@b.example\n\n");
        let logs: Vec<String> = (0..40_000).map(log).collect();
        let list = format!("logs/v0\n{}", logs.concat());

        assert_eq!(read(&list).map(|list| list.logs.len()), Ok(40_000));
    }
}
