//! Stories from a small probabilistic grammar.
//!
//! A story follows a few people who carry things between places. Who holds
//! what and who is where is a state that the sentences change and later
//! sentences depend on, and a story ends with questions about it: what is said
//! next is often decided many words earlier, which no model of three tokens
//! can know. Every word comes from here.

use assay_stats::stream;
use rand_chacha::ChaCha20Rng;

use crate::init::unit;

const PEOPLE: [&str; 16] = [
    "Mara", "Oren", "Tilda", "Bram", "Suri", "Nils", "Pia", "Karl", "Edda", "Jonas", "Lene",
    "Ravi", "Zora", "Hugo", "Wren", "Amos",
];
const THINGS: [&str; 16] = [
    "kite", "lamp", "drum", "basket", "ladder", "coin", "hat", "map", "bell", "rope", "cake",
    "spade", "flute", "jar", "book", "key",
];
const COLOURS: [&str; 8] = [
    "red", "green", "blue", "old", "small", "heavy", "golden", "striped",
];
const PLACES: [&str; 12] = [
    "harbour", "mill", "garden", "market", "bridge", "tower", "forest", "school", "meadow",
    "station", "cellar", "hill",
];

/// Who holds what, and who is where.
struct World {
    people: Vec<&'static str>,
    place: Vec<&'static str>,
    things: Vec<(&'static str, &'static str)>,
    holder: Vec<usize>,
}

/// One story, a single line of text.
#[must_use]
pub fn story(draws: &mut ChaCha20Rng) -> String {
    let mut world = World {
        people: several(draws, &PEOPLE, 3),
        place: several(draws, &PLACES, 3),
        things: Vec::new(),
        holder: Vec::new(),
    };
    for thing in several(draws, &THINGS, 2) {
        world.things.push((pick(draws, &COLOURS), thing));
        world.holder.push(below(draws, world.people.len()));
    }
    let mut told = Vec::new();
    for (i, (colour, thing)) in world.things.iter().enumerate() {
        let owner = world.people[world.holder[i]];
        told.push(match below(draws, 3) {
            0 => format!("{owner} has a {colour} {thing}."),
            1 => format!("{owner} carries a {colour} {thing}."),
            _ => format!("There is a {colour} {thing}, and {owner} keeps it."),
        });
    }
    let events = 3 + below(draws, 3);
    for _ in 0..events {
        told.push(event(draws, &mut world));
    }
    for _ in 0..2 {
        told.push(question(draws, &world));
    }
    told.join(" ")
}

/// Words that prompts are cut to, and how many there are of each length.
const PROMPT_WORDS: [usize; 5] = [8, 16, 24, 32, 40];
const PROMPTS_EACH: usize = 5;
const PROMPT_SEED: u64 = 26;

/// Beginnings of stories that no model was trained on, as lines of a prompt
/// file. The category is the number of words.
#[must_use]
pub fn story_prompts() -> String {
    let mut lines = String::new();
    for words in PROMPT_WORDS {
        for i in 1..=PROMPTS_EACH {
            let mut draws = stream(PROMPT_SEED, &format!("prompt/{words}/{i}"));
            let mut text = story(&mut draws);
            while text.split(' ').count() < words {
                text = format!("{text} {}", story(&mut draws));
            }
            let text: Vec<&str> = text.split(' ').take(words).collect();
            let line = serde_json::json!({
                "id": format!("words-{words}-{i}"),
                "category": format!("words-{words}"),
                "text": text.join(" "),
            });
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
    }
    lines
}

fn event(draws: &mut ChaCha20Rng, world: &mut World) -> String {
    let who = below(draws, world.people.len());
    let name = world.people[who];
    match below(draws, 3) {
        // Going somewhere, with what is carried.
        0 => {
            let place = pick(draws, &PLACES);
            world.place[who] = place;
            let carried = (0..world.things.len()).find(|i| world.holder[*i] == who);
            match carried {
                Some(i) => format!("{name} takes the {} to the {place}.", world.things[i].1),
                None => format!("{name} walks to the {place}."),
            }
        }
        // Meeting: one comes to where the other is.
        1 => {
            let other = another(draws, who, world.people.len());
            let place = world.place[other];
            world.place[who] = place;
            format!("{name} meets {} at the {place}.", world.people[other])
        }
        // Giving.
        _ => {
            let thing = below(draws, world.things.len());
            let giver = world.holder[thing];
            let taker = another(draws, giver, world.people.len());
            world.holder[thing] = taker;
            world.place[taker] = world.place[giver];
            let (colour, thing) = world.things[thing];
            format!(
                "{} gives the {colour} {thing} to {}.",
                world.people[giver], world.people[taker]
            )
        }
    }
}

fn question(draws: &mut ChaCha20Rng, world: &World) -> String {
    let thing = below(draws, world.things.len());
    let holder = world.holder[thing];
    let (colour, thing) = world.things[thing];
    match below(draws, 3) {
        0 => format!("Who has the {thing} now? {}.", world.people[holder]),
        1 => format!(
            "What does {} hold? The {colour} {thing}.",
            world.people[holder]
        ),
        _ => format!("Where is the {thing}? At the {}.", world.place[holder]),
    }
}

fn below(draws: &mut ChaCha20Rng, bound: usize) -> usize {
    // The product is below the bound: unit() is below 1 by 2^-53 at least.
    (unit(draws) * bound as f64) as usize
}

fn pick(draws: &mut ChaCha20Rng, from: &[&'static str]) -> &'static str {
    from[below(draws, from.len())]
}

/// Different ones, in the order drawn.
fn several(draws: &mut ChaCha20Rng, from: &[&'static str], n: usize) -> Vec<&'static str> {
    let mut left = from.to_vec();
    (0..n.min(left.len()))
        .map(|_| left.remove(below(draws, left.len())))
        .collect()
}

fn another(draws: &mut ChaCha20Rng, than: usize, of: usize) -> usize {
    (than + 1 + below(draws, of - 1)) % of
}

#[cfg(test)]
mod tests {
    use super::story;
    use assay_stats::stream;

    #[test]
    fn a_story_is_a_function_of_its_stream() {
        let tell = |name: &str| story(&mut stream(7, name));
        assert_eq!(tell("a"), tell("a"));
        assert_ne!(tell("a"), tell("b"));
        insta::assert_snapshot!(["a", "b", "c"].map(tell).join("\n"));
    }
}
