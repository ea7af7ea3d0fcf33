//! Number ranges that are blocked or cost extra (satellite, premium, fraud), and country codes.
//!
//! Sources: the ITU's list of assigned E.164 country codes (global and satellite codes), the national numbering plans that
//! administrations publish in the ITU Operational Bulletin (premium services), and the destinations that fraud reports of carriers and
//! operators (CFCA's surveys, the FCC's and Ofcom's warnings, carriers' lists of high-risk destinations) name year after year.

/// Why a range is in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Satellite and global networks: several euros a minute, and not used by offices. Always blocked.
    Satellite,
    /// Premium-rate services, charged by the minute. Only dialled by hand from a phone with the permission.
    Premium,
    /// Small territories whose ranges are mostly sold for revenue-share fraud (IRSF). Always blocked.
    Fraud,
    /// Countries that are frequent fraud destinations and have real subscribers. Dialled only where the installation allows them.
    HighRisk,
}

/// Prefixes of one kind in international form; `x` stands for any digit.
type Group = (Kind, &'static [&'static str]);

pub(super) const GROUPS: &[Group] = &[
    // Inmarsat and its old codes, personal numbers, Iridium and Globalstar, international networks, trial and withdrawn codes.
    (Kind::Satellite, &["870", "871", "872", "873", "874", "878", "881", "882", "883", "888", "991"]),
    // International premium rate and shared cost.
    (Kind::Premium, &["979", "808"]),
    // North America: 900, the old 976 exchange, personal numbers.
    (Kind::Premium, &["1900", "1xxx976", "1500", "1533", "1544", "1566", "1577", "1588", "1700"]),
    // United Kingdom: 09, 0871 to 0873, personal numbers on 070.
    (Kind::Premium, &["449", "44871", "44872", "44873", "4470"]),
    // Spain, Portugal, Italy, France.
    (Kind::Premium, &["34803", "34806", "34807", "34905", "34907", "34118"]),
    (Kind::Premium, &["351601", "351607", "351608", "351646", "351760", "351761", "351762"]),
    (
        Kind::Premium,
        &["39144", "39163", "39164", "39166", "39892", "39893", "39894", "39895", "39899", "3389"],
    ),
    // Germany, Austria, Switzerland, the Low Countries.
    (Kind::Premium, &["49900", "49190", "49137", "49118", "43900", "43901", "43930", "43931", "43939"]),
    (Kind::Premium, &["41900", "41901", "41906", "423900", "423901", "423906"]),
    (Kind::Premium, &["31900", "31906", "31909", "32900", "32901", "32902", "32903", "32904", "32905"]),
    (Kind::Premium, &["32906", "32907", "32908", "32909", "352900", "352901", "352905"]),
    // Northern and Eastern Europe.
    (Kind::Premium, &["46900", "46939", "46944", "47820", "47829", "4590", "358600", "358606", "358700"]),
    (Kind::Premium, &["48300", "48400", "48700", "48701", "48703", "48704", "48708", "420900", "420906"]),
    (Kind::Premium, &["420908", "420909", "421900", "3690", "3691", "40900", "40903", "40906", "35990"]),
    (Kind::Premium, &["38560", "38690", "381900", "370900", "371900", "372900", "30901", "30909"]),
    (Kind::Premium, &["7803", "7809", "375902", "380900", "90900", "90888", "90898"]),
    // Latin America.
    (Kind::Premium, &["52900", "54600", "54609", "55900", "56700", "57900", "57901", "51808", "58900"]),
    (Kind::Premium, &["506900", "507900"]),
    // Asia, Oceania, Africa.
    (
        Kind::Premium,
        &["61190", "64900", "81990", "8260", "651900", "97219", "27862", "27864", "27867", "27868"],
    ),
    // Islands of the South Atlantic, the Indian Ocean and the Pacific.
    (Kind::Fraud, &["246", "247", "290", "500", "239", "672", "674", "681", "682", "683", "688", "690"]),
    // North Korea; unassigned codes that appear in hijacked routes.
    (Kind::Fraud, &["850", "210", "214", "215", "217", "219", "259", "697", "699", "969"]),
    // Africa.
    (Kind::HighRisk, &["216", "220", "222", "224", "228", "231", "232", "235", "236", "242", "243", "245"]),
    (Kind::HighRisk, &["248", "249", "252", "253", "257", "261", "263", "269", "291"]),
    // Europe, Asia, the Pacific.
    (Kind::HighRisk, &["371", "373", "375", "3774", "383", "387", "992", "993", "994", "960", "93", "963"]),
    (Kind::HighRisk, &["964", "967", "970", "856", "670", "675", "676", "677", "678", "685", "686", "691"]),
    // The Caribbean: Cuba, and NANP area codes that look like domestic ones.
    (Kind::HighRisk, &["692", "53", "509", "592", "597"]),
    (Kind::HighRisk, &["1242", "1246", "1264", "1268", "1284", "1473", "1649", "1658", "1664", "1758"]),
    (Kind::HighRisk, &["1767", "1784", "1809", "1829", "1849", "1868", "1869", "1876"]),
];

/// Country codes of two digits; `1` and `7` have one digit, all others three (ITU-T E.164).
const TWO_DIGIT_CODES: &str = "20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 \
     55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90 91 92 93 94 95 98";

/// NANP area codes outside the United States (with their territories) and Canada.
pub(super) const FOREIGN_NANP_CODES: &[&str] = &[
    "242", "246", "264", "268", "284", "345", "441", "473", "649", "658", "664", "721", "758", "767", "784",
    "809", "829", "849", "868", "869", "876",
];

/// The country code of a number in international form; `None` where the number is too short.
pub fn country_of(digits: &str) -> Option<&str> {
    let one = digits.get(..1)?;
    if matches!(one, "1" | "7") {
        return Some(one);
    }
    let two = digits.get(..2)?;
    if TWO_DIGIT_CODES.split(' ').any(|code| code == two) { Some(two) } else { digits.get(..3) }
}

/// Whether the digits match the prefix pattern; `x` matches any digit.
pub(super) fn matches_prefix(digits: &str, pattern: &str) -> bool {
    digits.len() >= pattern.len() && pattern.bytes().zip(digits.bytes()).all(|(p, d)| p == b'x' || p == d)
}

/// The first range of the table that contains a number in international form.
pub(super) fn range_of(digits: &str) -> Option<(Kind, &'static str)> {
    GROUPS
        .iter()
        .flat_map(|(kind, ranges)| ranges.iter().map(|range| (*kind, *range)))
        .find(|(_, range)| matches_prefix(digits, range))
}
