//! All servers, the choice among them, and what is shown.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::facts::Gpu;
use crate::report::{ServerEvent, ServerStatus};
use crate::sglang::{Activity, RankLoad};
use crate::top::history::{History, Minute, Rates};
use crate::top::key::Action;

/// Time that a look may take beyond the interval before the screen says that it is late.
const LATE: Duration = Duration::from_secs(3);

/// A server as one look showed it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Its state and its load.
    pub status: ServerStatus,
    /// Its counters, if it has metrics and they answered, with the time of the answer since any begin.
    pub activity: Option<(Duration, Activity)>,
}

/// One look at the servers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Look {
    /// The servers.
    pub servers: Vec<Seen>,
    /// The server that the user named; `None` for all.
    pub sought: Option<String>,
    /// The events of these servers, the oldest first.
    pub events: Vec<ServerEvent>,
    /// The reason why containers were not looked at.
    pub trouble: Option<String>,
}

/// The unequal load of ranks.
#[derive(Debug, Clone, PartialEq)]
pub struct Imbalance {
    /// The loads, by rank.
    pub ranks: Vec<RankLoad>,
    /// The most running requests of a rank.
    pub running_max: u64,
    /// The mean of the running requests.
    pub running_mean: f64,
    /// The largest used share of a KV pool, 0 to 1.
    pub kv_max: f64,
    /// The mean of the used shares.
    pub kv_mean: f64,
}

impl Imbalance {
    /// Returns the imbalance of some ranks; `None` of less than two.
    fn of(ranks: &[RankLoad]) -> Option<Self> {
        let count = f64::from(u32::try_from(ranks.len()).ok().filter(|count| *count > 1)?);
        // Running requests of a rank are a few thousand at most.
        let whole = |running: u64| f64::from(u32::try_from(running).unwrap_or(u32::MAX));
        Some(Self {
            running_max: ranks.iter().map(|rank| rank.running).max().unwrap_or(0),
            running_mean: ranks.iter().map(|rank| whole(rank.running)).sum::<f64>() / count,
            kv_max: ranks.iter().map(|rank| rank.kv_use).fold(0.0, f64::max),
            kv_mean: ranks.iter().map(|rank| rank.kv_use).sum::<f64>() / count,
            ranks: ranks.to_vec(),
        })
    }
}

/// The figures of the selected server, by its counters.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Detail {
    /// Its rates; `None` before the second look.
    pub rates: Option<Rates>,
    /// Generated tokens per second at each look, the oldest first; `None` at a look that shows no rate.
    pub points: Vec<Option<f64>>,
    /// The last minute; `None` before the second look.
    pub minute: Option<Minute>,
    /// Tokens for each step of speculative decoding; `None` without it.
    pub accept_length: Option<f64>,
    /// The unequal load of its ranks; `None` if the metrics name one rank.
    pub imbalance: Option<Imbalance>,
}

/// A screen, as data.
#[derive(Debug, Clone, PartialEq)]
pub struct Screen {
    /// The servers by name.
    pub servers: Vec<ServerStatus>,
    /// The place of the selected one.
    pub selected: usize,
    /// The counters of the selected server; `None` without metrics.
    pub detail: Option<Detail>,
    /// The server that the user named; `None` for all.
    pub sought: Option<String>,
    /// The GPUs of this host.
    pub gpus: Vec<Gpu>,
    /// The events, the oldest first.
    pub events: Vec<ServerEvent>,
    /// The reason why containers were not looked at.
    pub trouble: Option<String>,
    /// Time between two looks.
    pub every: Duration,
    /// The age of the last look, if the next one is late.
    pub late: Option<Duration>,
    /// True before the first look.
    pub is_first: bool,
    /// True while the user pauses the screen.
    pub is_paused: bool,
    /// True if the keys are shown.
    pub shows_help: bool,
}

/// Everything that the screen is made of.
#[derive(Debug, Clone)]
pub struct Top {
    every: Duration,
    look: Look,
    looked_at: Option<Duration>,
    gpus: Vec<Gpu>,
    histories: BTreeMap<String, History>,
    selected: Option<String>,
    is_paused: bool,
    shows_help: bool,
}

impl Top {
    /// Returns a screen whose looks are `every` apart, before the first one.
    #[must_use]
    pub fn new(every: Duration) -> Self {
        Self {
            every,
            look: Look::default(),
            looked_at: None,
            gpus: Vec::new(),
            histories: BTreeMap::new(),
            selected: None,
            is_paused: false,
            shows_help: false,
        }
    }

    /// Adds a look; `at` is the time since the same begin. While the screen is paused, a look is dropped.
    pub fn add_look(&mut self, at: Duration, mut look: Look) {
        if self.is_paused {
            return;
        }
        look.servers.sort_by(|a, b| a.status.name.cmp(&b.status.name));
        let names = look.servers.iter().map(|seen| seen.status.name.clone());
        let names: Vec<String> = names.collect();
        self.histories.retain(|name, _| names.contains(name));
        for seen in &mut look.servers {
            let history = self.histories.entry(seen.status.name.clone()).or_default();
            history.add_look(seen.activity.take());
        }
        // The one below a server that is gone takes its place.
        let selected = self.selected.clone().unwrap_or_default();
        if !names.contains(&selected) {
            let next = names.iter().find(|name| **name >= selected);
            self.selected = next.or(names.last()).cloned();
        }
        self.look = look;
        self.looked_at = Some(at);
    }

    /// Takes the GPUs of this host as they are now.
    pub fn set_gpus(&mut self, gpus: Vec<Gpu>) {
        if !self.is_paused {
            self.gpus = gpus;
        }
    }

    /// Carries out the action of a key; returns false if it ends the command.
    pub fn do_action(&mut self, action: Action) -> bool {
        match action {
            Action::Quit => return false,
            Action::SelectAbove => self.select(self.selected_place().saturating_sub(1)),
            Action::SelectBelow => self.select(self.selected_place() + 1),
            Action::Pause => self.is_paused = !self.is_paused,
            Action::Help => self.shows_help = !self.shows_help,
        }
        true
    }

    fn selected_place(&self) -> usize {
        let is_it = |seen: &Seen| Some(&seen.status.name) == self.selected.as_ref();
        self.look.servers.iter().position(is_it).unwrap_or(0)
    }

    fn select(&mut self, place: usize) {
        if let Some(seen) = self.look.servers.get(place) {
            self.selected = Some(seen.status.name.clone());
        }
    }

    /// Returns the screen at a time, which counts as that of the looks.
    #[must_use]
    pub fn screen(&self, now: Duration) -> Screen {
        let age = now.saturating_sub(self.looked_at.unwrap_or_default());
        let late = Some(age).filter(|age| *age >= self.every + LATE && !self.is_paused);
        let history = self.selected.as_ref().and_then(|name| self.histories.get(name));
        Screen {
            servers: self.look.servers.iter().map(|seen| seen.status.clone()).collect(),
            selected: self.selected_place(),
            detail: history.and_then(detail),
            sought: self.look.sought.clone(),
            gpus: self.gpus.clone(),
            events: self.look.events.clone(),
            trouble: self.look.trouble.clone(),
            every: self.every,
            late,
            is_first: self.looked_at.is_none(),
            is_paused: self.is_paused,
            shows_help: self.shows_help,
        }
    }
}

fn detail(history: &History) -> Option<Detail> {
    let last = history.last()?;
    Some(Detail {
        rates: history.rates(),
        points: history.points(),
        minute: history.minute(),
        accept_length: last.accept_length,
        imbalance: Imbalance::of(&last.ranks),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ServerState;
    use crate::top::key::Key;

    fn seen_server(at: u64, name: &str, generated: Option<u64>) -> Seen {
        Seen {
            status: ServerStatus {
                name: name.to_owned(),
                runtime: "docker".to_owned(),
                state: ServerState::Idle,
                id: "1".to_owned(),
                profile: "p".to_owned(),
                stack: "current".to_owned(),
                base_url: "http://127.0.0.1:30000".to_owned(),
                model: "/m".to_owned(),
                served_model: None,
                exit_code: None,
                cause: None,
                age_s: None,
                stage: None,
                load: None,
            },
            activity: generated.map(|generated_tokens| {
                let activity = Activity {
                    generated_tokens,
                    ..Activity::default()
                };
                (second(at), activity)
            }),
        }
    }

    fn add_look(top: &mut Top, at: u64, servers: &[(&str, Option<u64>)]) {
        let servers = servers.iter();
        let look = Look {
            servers: servers
                .map(|(name, generated)| seen_server(at, name, *generated))
                .collect(),
            ..Look::default()
        };
        top.add_look(second(at), look);
    }

    fn second(at: u64) -> Duration {
        Duration::from_secs(at)
    }

    fn press(top: &mut Top, keys: &str) -> bool {
        keys.chars()
            .filter_map(|key| Action::of(Key::Char(key)))
            .all(|action| top.do_action(action))
    }

    fn selected(top: &Top) -> String {
        let screen = top.screen(second(0));
        screen.servers[screen.selected].name.clone()
    }

    #[test]
    fn keys_select_a_server_that_stays_selected() {
        let mut top = Top::new(second(1));
        assert!(top.screen(second(0)).is_first);
        assert!(press(&mut top, "jkx"));
        let all = [("c", None), ("a", None), ("b", None)];
        add_look(&mut top, 1, &all);
        assert_eq!(selected(&top), "a");
        for (keys, expected) in [
            ("j", "b"),
            ("jj", "c"),
            ("j", "c"),
            ("k", "b"),
            ("kkk", "a"),
            ("j", "b"),
        ] {
            assert!(press(&mut top, keys));
            assert_eq!(selected(&top), expected, "{keys}");
        }
        // Another server begins, and the selected one ends.
        add_look(&mut top, 2, &[("0", None), ("a", None), ("b", None)]);
        assert_eq!(selected(&top), "b");
        add_look(&mut top, 3, &[("a", None), ("c", None)]);
        assert_eq!(selected(&top), "c");
        add_look(&mut top, 4, &[("a", None)]);
        assert_eq!(selected(&top), "a");
        add_look(&mut top, 5, &[]);
        let screen = top.screen(second(5));
        assert!(screen.servers.is_empty() && screen.detail.is_none() && !screen.is_first);
    }

    #[test]
    fn a_paused_screen_does_not_change() {
        let mut top = Top::new(second(1));
        add_look(&mut top, 1, &[("a", Some(100))]);
        add_look(&mut top, 2, &[("a", Some(200))]);
        let rate = |top: &Top| {
            top.screen(second(60))
                .detail
                .unwrap()
                .rates
                .unwrap()
                .generated_tokens
        };
        assert!((rate(&top) - 100.0).abs() < 1e-9);
        assert!(press(&mut top, "p"));
        add_look(&mut top, 3, &[("a", Some(5000))]);
        assert!((rate(&top) - 100.0).abs() < 1e-9 && top.screen(second(60)).late.is_none());
        assert!(press(&mut top, "p"));
        add_look(&mut top, 42, &[("a", Some(4200))]);
        // Of the whole time since the last look.
        assert!((rate(&top) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_late_look_is_told() {
        let mut top = Top::new(second(1));
        assert_eq!(top.screen(second(3)).late, None);
        assert_eq!(top.screen(second(4)).late, Some(second(4)));
        add_look(&mut top, 10, &[]);
        assert_eq!(top.screen(second(12)).late, None);
        assert_eq!(top.screen(second(17)).late, Some(second(7)));
    }

    #[test]
    fn each_key_has_its_action() {
        for (key, action) in [
            (Key::Char('q'), Some(Action::Quit)),
            (Key::Escape, Some(Action::Quit)),
            (Key::Interrupt, Some(Action::Quit)),
            (Key::Up, Some(Action::SelectAbove)),
            (Key::Down, Some(Action::SelectBelow)),
            (Key::Char('?'), Some(Action::Help)),
            (Key::Char('h'), Some(Action::Help)),
            (Key::Char('p'), Some(Action::Pause)),
            (Key::Char('x'), None),
        ] {
            assert_eq!(Action::of(key), action, "{key:?}");
        }
        let mut top = Top::new(second(1));
        assert!(!press(&mut top, "hq"));
        assert!(top.screen(second(0)).shows_help);
    }

    #[test]
    fn the_imbalance_of_ranks_is_their_largest_over_their_mean() {
        let rank = |running, kv_use| RankLoad {
            kind: "dp",
            rank: "0".to_owned(),
            running,
            kv_use,
        };
        assert_eq!(Imbalance::of(&[rank(3, 0.5)]), None);
        let found = Imbalance::of(&[rank(6, 0.75), rank(2, 0.25)]).unwrap();
        assert_eq!((found.running_max, found.kv_max), (6, 0.75));
        assert!((found.running_mean - 4.0).abs() < 1e-9 && (found.kv_mean - 0.5).abs() < 1e-9);
    }
}
