//! Kills at random times.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::world::{World, guard_of, kill};

/// Numbers that can be had again (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// So many by default.
const KILLS: u64 = 200;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// What random kills came to.
#[derive(Debug, Default)]
struct Met {
    run: u32,
    both: u32,
    guard: u32,
    term: u32,
    /// Guard, or guard and run, were killed within the lock call itself: nobody has the token.
    lost: u32,
}

#[test]
fn kills_at_random() {
    let start = Instant::now();
    let seed = number("BKHOST_SEED", u64::from(std::process::id()));
    let kills = number("BKHOST_KILLS", KILLS);
    println!("BKHOST_SEED={seed}");
    // Half of them each, at once.
    let (even, odd) = std::thread::scope(|scope| {
        let half = scope.spawn(|| strike(seed, kills / 2));
        let other = strike(!seed, kills - kills / 2);
        (half.join().unwrap_or_else(|e| std::panic::resume_unwind(e)), other)
    });
    println!("random kills: {kills} rounds of seed {seed}, met {even:?} and {odd:?}, {:?}", start.elapsed());
}

fn strike(seed: u64, kills: u64) -> Met {
    let mut random = Random(seed);
    let mut world = World::new();
    let begun = Instant::now();
    let _ = world.bk.backup_id();
    let lasts = u64::try_from(begun.elapsed().as_millis()).unwrap();
    let mut met = Met::default();
    for round in 0..kills {
        let (delay, blow) = (random.below(lasts + 50), random.below(4));
        let what = format!("{seed:#x}, round {round}: blow {blow} after {delay} ms");
        let mut run = world.bk.spawn(&["run"]);
        std::thread::sleep(Duration::from_millis(delay));
        if !run.runs() {
            let _ = run.end().ok();
            continue;
        }
        let guard = guard_of(run.pid());
        match blow {
            0 => {
                met.run += 1;
                run.signal(Signal::KILL);
            }
            1 => {
                met.both += 1;
                guard.into_iter().for_each(kill);
                run.signal(Signal::KILL);
            }
            2 => {
                met.guard += 1;
                guard.into_iter().for_each(kill);
            }
            _ => {
                met.term += 1;
                run.signal(Signal::TERM);
            }
        }
        let outcome = run.end();
        // The one case in which nobody can: the token was in the only reply, and died with its reader.
        if matches!(blow, 1 | 2) && token_was_lost(&world) {
            met.lost += 1;
            assert!(met.lost <= 3 + u32::try_from(kills / 20).unwrap(), "{what}: tokens are lost too often: {met:?}");
            world.bk.run(&["recover"]).fails(5, &["the token is not known"]);
            world.restart_application();
            world.recover(&what);
            continue;
        }
        assert!([-1, 0, 1, 11].contains(&outcome.code), "{what}: {outcome}");
        world.recover(&what);
    }
    world.verifies();
    met
}

/// Whether the last journal ends within the lock call, and the application is locked.
fn token_was_lost(world: &World) -> bool {
    let (_, records) = world.journals().pop().unwrap();
    world.simulator().locked() && records.iter().filter(|record| *record == "application").count() == 1
}
