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

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn kills_at_random() {
    let start = Instant::now();
    let seed = number("BKHOST_SEED", u64::from(std::process::id()));
    let kills = number("BKHOST_KILLS", 8);
    println!("BKHOST_SEED={seed}");
    let mut random = Random(seed);
    let world = World::new();
    let begun = Instant::now();
    let _ = world.bk.backup_id();
    let lasts = u64::try_from(begun.elapsed().as_millis()).unwrap();
    let mut met = [0; 4];
    for round in 0..kills {
        let (delay, blow) = (random.below(lasts + 50), random.below(4));
        let what = format!("seed {seed}, round {round}: blow {blow} after {delay} ms");
        let mut run = world.bk.spawn(&["run"]);
        std::thread::sleep(Duration::from_millis(delay));
        if run.runs() {
            met[usize::try_from(blow).unwrap()] += 1;
        } else {
            let _ = run.end().ok();
            continue;
        }
        let guard = guard_of(run.pid());
        match blow {
            0 => run.signal(Signal::KILL),
            1 => {
                guard.into_iter().for_each(kill);
                run.signal(Signal::KILL);
            }
            2 => guard.into_iter().for_each(kill),
            _ => run.signal(Signal::TERM),
        }
        let outcome = run.end();
        if blow == 1 && token_was_lost(&world) {
            // The one case in which nobody can: guard and run were killed within the lock call itself.
            println!("{what}: the lock's token was lost with both");
            return;
        }
        assert!([-1, 0, 1, 11].contains(&outcome.code), "{what}: {outcome}");
        world.recover(&what);
    }
    world.verifies();
    println!(
        "random kills: {kills} rounds ({} met the run, {} run and guard, {} the guard, {} were SIGTERM), {:?}",
        met[0],
        met[1],
        met[2],
        met[3],
        start.elapsed()
    );
}

/// Whether the last journal ends within the lock call, and the application is locked.
fn token_was_lost(world: &World) -> bool {
    let (_, records) = world.journals().pop().unwrap();
    world.simulator().locked() && records.iter().filter(|record| *record == "application").count() == 1
}
