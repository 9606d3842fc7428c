//! Which of several gateways is used, as time passes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use ipnet::IpNet;
use meshd_core::gateway::{Choices, Member, Range};
use meshd_core::id::NodeId;

/// As the module's page says.
const WELL_FOR: Duration = Duration::from_secs(10);
const QUIET: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(600);
/// Between questions: to one not in use, and to an idle one.
const EVERY_SPARE: Duration = Duration::from_secs(2);
const EVERY_IDLE: Duration = Duration::from_secs(20);

const BETTER: NodeId = NodeId::from_bytes([1; 16]);
const SPARE: NodeId = NodeId::from_bytes([2; 16]);

struct Scene {
    now: Instant,
    choices: Choices,
    prefix: IpNet,
    deaf: Vec<NodeId>,
    traffic: bool,
}

impl Scene {
    fn new(nat: bool) -> Self {
        let prefix = "192.168.50.0/24".parse().unwrap();
        let member = |priority, node| Member { priority, node, nat };
        let range = Range {
            prefix,
            members: vec![member(1, BETTER), member(2, SPARE)],
        };
        let (now, mut choices) = (beginning(), Choices::default());
        choices.set(now, &[range]);
        Self {
            now,
            choices,
            prefix,
            deaf: Vec::new(),
            traffic: true,
        }
    }

    /// Lets time pass in steps of the sampling; gives how long it took until the choice changed.
    fn until_changed(&mut self, bound: Duration) -> Option<Duration> {
        let start = self.now;
        while self.now - start < bound {
            self.now += Duration::from_millis(100);
            if self.traffic
                && let Some(node) = self.choices.of(&self.prefix)
            {
                self.choices.handle_traffic(self.now, node);
            }
            for (node, prefix) in self.choices.handle_timeout(self.now) {
                if !self.deaf.contains(&node) {
                    self.choices.handle_answer(self.now, node, &prefix, true);
                }
            }
            if self.choices.poll_change() {
                return Some(self.now - start);
            }
        }
        None
    }
}

#[test]
fn a_dead_gateway_in_use_is_left_within_two_and_a_half_seconds() {
    let mut scene = Scene::new(true);
    assert_eq!(scene.until_changed(Duration::from_secs(60)), None, "all is well");
    scene.deaf = vec![BETTER];
    let took = scene.until_changed(Duration::from_secs(5)).unwrap();
    assert!(took <= Duration::from_millis(2500), "{took:?}");
    assert_eq!(scene.choices.of(&scene.prefix), Some(SPARE));
}

#[test]
fn traffic_after_an_idle_hour_finds_the_dead_one_out_as_soon() {
    let mut scene = Scene::new(true);
    scene.traffic = false;
    assert_eq!(scene.until_changed(Duration::from_secs(3600)), None);
    (scene.traffic, scene.deaf) = (true, vec![BETTER]);
    let took = scene.until_changed(Duration::from_secs(30)).unwrap();
    assert!(took <= Duration::from_millis(2500), "{took:?}");
}

#[test]
fn one_that_declines_is_left_at_once() {
    let mut scene = Scene::new(false);
    scene.until_changed(Duration::from_secs(1));
    let prefix = scene.prefix;
    scene.choices.handle_answer(scene.now, BETTER, &prefix, false);
    assert!(scene.choices.poll_change());
    assert_eq!(scene.choices.of(&prefix), Some(SPARE));
}

/// Asked before it had begun to serve, the spare declined.
#[test]
fn when_the_one_in_use_goes_a_spare_that_declined_is_asked_again_at_once() {
    for says_goodbye in [true, false] {
        let mut scene = Scene::new(false);
        assert_eq!(scene.until_changed(Duration::from_secs(1)), None);
        let prefix = scene.prefix;
        scene.choices.handle_answer(scene.now, SPARE, &prefix, false);
        match says_goodbye {
            true => scene.choices.handle_goodbye(scene.now, BETTER),
            false => scene.choices.handle_answer(scene.now, BETTER, &prefix, false),
        }
        assert!(!scene.choices.poll_change(), "there is no other yet");
        assert_eq!(scene.choices.poll_timeout(), Some(scene.now));
        assert_eq!(scene.choices.handle_timeout(scene.now), [(SPARE, prefix)]);
        scene.choices.handle_answer(scene.now, SPARE, &prefix, true);
        assert!(scene.choices.poll_change());
        assert_eq!(scene.choices.of(&prefix), Some(SPARE));
    }
}

#[test]
fn the_better_one_is_used_again_after_ten_good_seconds() {
    let mut scene = Scene::new(false);
    scene.deaf = vec![BETTER];
    scene.until_changed(Duration::from_secs(5)).unwrap();
    scene.until_changed(Duration::from_secs(20));
    scene.deaf.clear();
    let took = scene.until_changed(Duration::from_secs(60)).unwrap();
    assert!(took >= WELL_FOR && took <= WELL_FOR + 2 * EVERY_SPARE, "{took:?}");
    assert_eq!(scene.choices.of(&scene.prefix), Some(BETTER));
}

#[test]
fn connections_behind_a_masquerading_gateway_are_waited_for_but_not_for_ever() {
    let mut scene = Scene::new(true);
    scene.deaf = vec![BETTER];
    scene.until_changed(Duration::from_secs(5)).unwrap();
    scene.deaf.clear();
    assert_eq!(scene.until_changed(Duration::from_secs(60)), None, "packets go");
    scene.traffic = false;
    let took = scene.until_changed(Duration::from_secs(60)).unwrap();
    assert!(took <= QUIET + EVERY_IDLE + EVERY_SPARE, "{took:?}");

    let mut scene = Scene::new(true);
    scene.deaf = vec![BETTER];
    scene.until_changed(Duration::from_secs(5)).unwrap();
    scene.deaf.clear();
    let took = scene.until_changed(2 * PATIENCE).unwrap();
    assert!(took >= PATIENCE && took <= PATIENCE + 4 * EVERY_SPARE, "{took:?}");
}

#[test]
fn where_all_are_dead_the_last_one_is_kept_and_said_to_be_ill() {
    let mut scene = Scene::new(true);
    scene.deaf = vec![BETTER, SPARE];
    scene.until_changed(Duration::from_secs(60));
    scene.until_changed(Duration::from_secs(60));
    assert!(scene.choices.of(&scene.prefix).is_some());
    assert!(!scene.choices.is_well(&scene.prefix));
}

#[test]
fn what_comes_from_a_gateway_that_answers_no_question_keeps_it() {
    let mut scene = Scene::new(true);
    scene.deaf = vec![BETTER];
    for _ in 0..60 {
        scene.choices.handle_received(scene.now, BETTER);
        assert_eq!(scene.until_changed(Duration::from_millis(500)), None);
    }
}

#[allow(clippy::disallowed_methods)] // of a test, not of the core
fn beginning() -> Instant {
    Instant::now()
}
