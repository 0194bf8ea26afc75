//! Identifiers that are numbers, most of them with check digits.

use super::{Flaw, Judgement, spelled};

/// `dddd-dddd-dddd-dddX`: ISO/IEC 7064, MOD 11-2.
pub(super) fn orcid(value: &str) -> Judgement {
    let groups: Vec<&str> = value.split('-').collect();
    spelled(groups.len() == 4 && groups.iter().all(|group| group.len() == 4))?;
    mod_11_2(&groups.concat())
}

/// `dddddddddddddddX`: ISO/IEC 7064, MOD 11-2.
pub(super) fn isni(value: &str) -> Judgement {
    mod_11_2(value)
}

/// `0cccccckk`: a number in Crockford's base 32 and ISO/IEC 7064, MOD 97-10 over its decimal form.
pub(super) fn ror(value: &str) -> Judgement {
    const ALPHABET: &str = "0123456789abcdefghjkmnpqrstvwxyz";
    spelled(value.len() == 9 && value.is_ascii() && value.starts_with('0'))?;
    let (number, check) = value.split_at(7);
    spelled(check.bytes().all(|byte| byte.is_ascii_digit()))?;
    let mut decoded: u64 = 0;
    for letter in number.chars() {
        let digit = ALPHABET.find(letter).ok_or(Flaw::Shape)?;
        decoded = decoded * 32 + digit as u64;
    }
    let expected = 98 - (decoded * 100) % 97;
    if check == format!("{expected:02}") { Ok(()) } else { Err(Flaw::CheckDigits) }
}

/// `Qn`, without leading zeros.
pub(super) fn wikidata(value: &str) -> Judgement {
    let number = value.strip_prefix('Q').ok_or(Flaw::Shape)?;
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
    spelled(is_number && (1..=12).contains(&number.len()))
}

/// 64 lower-case hex digits.
pub(super) fn email_sha256(value: &str) -> Judgement {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    spelled(value.len() == 64 && value.bytes().all(is_digit))
}

/// 15 digits and the one that makes the sum of ISO/IEC 7064, MOD 11-2 come out: X stands for 10.
fn mod_11_2(value: &str) -> Judgement {
    spelled(value.len() == 16 && value.is_ascii())?;
    let (number, check) = value.split_at(15);
    let mut sum = 0;
    for digit in number.chars() {
        sum = (sum + digit.to_digit(10).ok_or(Flaw::Shape)?) * 2;
    }
    let check = match check {
        "X" => 10,
        digit => digit.parse().map_err(|_| Flaw::Shape)?,
    };
    if (sum + check) % 11 == 1 { Ok(()) } else { Err(Flaw::CheckDigits) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the texts a check takes, and what it says of the rest.
    fn assert_all(check: fn(&str) -> Judgement, texts: &[&str], expected: Judgement) {
        for text in texts {
            assert_eq!(check(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_orcid_is_spelled_in_groups_and_ends_with_its_check_digit() {
        let real = ["0000-0002-1825-0097", "0000-0001-5109-3700", "0000-0002-1694-233X"];
        assert_all(orcid, &real, Ok(()));
        let mistyped = ["0000-0002-1825-0096", "0000-0002-1852-0097", "0000-0002-1694-2330"];
        assert_all(orcid, &mistyped, Err(Flaw::CheckDigits));
        let misspelled = [
            "0000000218250097",
            "0000-0002-1694-233x",
            "0000-0002-1825-009",
            "0000-0002-1825-00977",
            "000-00002-1825-0097",
            "https://orcid.org/0000-0002-1825-0097",
            "X000-0002-1825-0097",
            "0000-0002-1825-009\u{664}",
            "+000-0002-1825-0097",
        ];
        assert_all(orcid, &misspelled, Err(Flaw::Shape));
    }

    #[test]
    fn an_isni_has_no_spaces_and_the_same_check_digit() {
        assert_all(isni, &["000000012146438X", "0000000121032683", "0000000218250097"], Ok(()));
        assert_all(isni, &["0000000121464380", "0000000121032638"], Err(Flaw::CheckDigits));
        let misspelled =
            ["0000 0001 2146 438X", "000000012146438x", "12146438X", "00000001214643+1"];
        assert_all(isni, &misspelled, Err(Flaw::Shape));
    }

    #[test]
    fn every_single_wrong_digit_and_every_swap_of_neighbours_is_noticed() {
        let right = b"0000000218250097";
        for place in 0..16 {
            for digit in b'0'..=b'9' {
                let mut other = *right;
                other[place] = digit;
                let text = std::str::from_utf8(&other).unwrap();
                assert_eq!(isni(text).is_ok(), other == *right, "{text}");
            }
            let mut swapped = *right;
            swapped.swap(place, (place + 1).min(15));
            let text = std::str::from_utf8(&swapped).unwrap();
            assert_eq!(isni(text).is_ok(), swapped == *right, "{text}");
        }
    }

    #[test]
    fn a_ror_ends_with_the_checksum_of_its_number() {
        assert_all(ror, &["05gq02987", "03yrm5c26", "013meh722", "052gg0110", "00f54p054"], Ok(()));
        assert_all(ror, &["05gq02986", "05gq03987", "03yrm5c62"], Err(Flaw::CheckDigits));
        let misspelled = [
            "5gq02987",
            "15gq02987",
            "05GQ02987",
            "05gu02987",
            "05gq0298a",
            "05gq029871",
            "https://ror.org/05gq02987",
            "05gq0298\u{e9}",
        ];
        assert_all(ror, &misspelled, Err(Flaw::Shape));
    }

    #[test]
    fn an_item_is_a_q_and_a_number() {
        assert_all(wikidata, &["Q1", "Q42", "Q123456789012"], Ok(()));
        let misspelled = ["42", "q42", "Q", "Q0", "Q042", "P31", "Q1234567890123", "Q4 2", "Q-1"];
        assert_all(wikidata, &misspelled, Err(Flaw::Shape));
    }

    #[test]
    fn the_hash_of_an_address_is_bare_lower_case_hex() {
        let hash = crate::merkle::Hash::of(b"alice@example.com").to_hex();
        assert_all(email_sha256, &[&hash], Ok(()));
        let misspelled =
            [&hash[1..], &hash.to_uppercase(), &format!("sha256:{hash}"), "alice@example.com"];
        assert_all(email_sha256, &misspelled, Err(Flaw::Shape));
    }
}
