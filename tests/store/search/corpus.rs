//! A corpus of our own to measure retrieval by: fifty things that people told, among two hundred and fifty of small talk, and
//! six questions about each.

use super::measure::{Asked, Corpus, Text};

/// Who; what they did; the same as a question asks for it; the thing; where; when.
const TOLD: &[[&str; 6]] = &[
    [
        "Marta",
        "adopted a grey kitten",
        "adopt a kitten",
        "kitten",
        "from the shelter by the harbour",
        "at the beginning of March",
    ],
    [
        "Jonas",
        "broke his collarbone",
        "break a collarbone",
        "collarbone",
        "on the icy slope behind the school",
        "just before Christmas",
    ],
    [
        "Priya",
        "bought a second-hand cello",
        "buy a cello",
        "cello",
        "in a dusty shop near the cathedral",
        "on her birthday",
    ],
    ["Tomás", "flew to Reykjavik", "fly to Reykjavik", "flight", "with a stop in Oslo", "last November"],
    ["Aiko", "won the regional chess cup", "win the chess cup", "trophy", "in the town hall of Kobe", "in July"],
    [
        "Marta",
        "sold her motorcycle",
        "sell her motorcycle",
        "motorcycle",
        "to a dentist from Ghent",
        "after the accident",
    ],
    [
        "Jonas",
        "taught pottery to beginners",
        "teach pottery",
        "pottery class",
        "in the cellar of the library",
        "every Thursday",
    ],
    ["Priya", "quit smoking", "quit smoking", "cigarettes", "with the help of a hypnotist", "at Easter"],
    [
        "Tomás",
        "planted forty olive trees",
        "plant olive trees",
        "orchard",
        "on the terrace above the river",
        "during the wet spring",
    ],
    [
        "Aiko",
        "lost her passport",
        "lose her passport",
        "passport",
        "in a taxi in Marrakesh",
        "on the second day of the journey",
    ],
    ["Ingrid", "opened a bakery", "open a bakery", "bakery", "in the old fire station", "in September"],
    ["Kwame", "ran the marathon", "run the marathon", "marathon", "through the rain of Rotterdam", "in April"],
    [
        "Leila",
        "wrote a thriller",
        "write a thriller",
        "manuscript",
        "in a cabin without electricity",
        "over the summer",
    ],
    ["Oskar", "caught an enormous pike", "catch a pike", "pike", "below the broken weir", "on Sunday morning"],
    ["Chiara", "sang the solo", "sing the solo", "solo", "in the abbey of Fossanova", "on midsummer night"],
    [
        "Ingrid",
        "repaired the lighthouse clock",
        "repair the clock",
        "clock",
        "with a spring from Geneva",
        "in a single weekend",
    ],
    ["Kwame", "became a beekeeper", "become a beekeeper", "hives", "on the roof of the hospital", "two years ago"],
    [
        "Leila",
        "met her biological father",
        "meet her father",
        "father",
        "at the railway station of Tabriz",
        "in the autumn",
    ],
    [
        "Oskar",
        "swam across the strait",
        "swim across the strait",
        "swim",
        "from the island to the mainland",
        "in under three hours",
    ],
    [
        "Chiara",
        "failed the driving test",
        "fail the driving test",
        "driving test",
        "because of a roundabout",
        "for the third time",
    ],
    [
        "Ravi",
        "built a telescope",
        "build a telescope",
        "telescope",
        "from a sewer pipe and two mirrors",
        "during the lockdown",
    ],
    ["Nadia", "donated a kidney", "donate a kidney", "kidney", "to a colleague from accounting", "in February"],
    ["Pavel", "stole an apple pie", "steal a pie", "pie", "off the window sill of the rectory", "when he was seven"],
    ["Yusuf", "learned to juggle", "learn to juggle", "juggling", "from a clown called Benno", "on the long ferry"],
    [
        "Emma",
        "painted the nursery turquoise",
        "paint the nursery",
        "nursery",
        "with leftovers from the boat",
        "a week before the twins came",
    ],
    [
        "Ravi",
        "inherited a vineyard",
        "inherit a vineyard",
        "vineyard",
        "from an aunt in Slovenia",
        "quite unexpectedly",
    ],
    ["Nadia", "drove a snow plough", "drive a snow plough", "plough", "over the Furka pass", "all winter"],
    [
        "Pavel",
        "forgot his wedding anniversary",
        "forget his anniversary",
        "anniversary",
        "while on a submarine",
        "in October",
    ],
    [
        "Yusuf",
        "designed a board game about lighthouses",
        "design a board game",
        "board game",
        "together with his niece",
        "between two jobs",
    ],
    ["Emma", "found a Roman coin", "find a Roman coin", "coin", "under the compost heap", "on Good Friday"],
    [
        "Sofia",
        "grew a pumpkin of ninety kilos",
        "grow a pumpkin",
        "pumpkin",
        "behind the garage",
        "by the end of August",
    ],
    ["Hassan", "fought off a goose", "fight a goose", "goose", "on the towpath near the lock", "on his way to work"],
    [
        "Bridget",
        "knitted a jumper for a penguin",
        "knit a jumper",
        "jumper",
        "for the zoo of Dunedin",
        "in one evening",
    ],
    [
        "Mateo",
        "held a speech in sign language",
        "hold a speech",
        "speech",
        "at the graduation of his deaf sister",
        "in June",
    ],
    [
        "Yuki",
        "tore a ligament",
        "tear a ligament",
        "ligament",
        "in the semifinal of the handball league",
        "in the last minute",
    ],
    [
        "Sofia",
        "cooked goulash for a hundred guests",
        "cook goulash",
        "goulash",
        "in the tents of the fire brigade",
        "at the village fair",
    ],
    [
        "Hassan",
        "translated sonnets into Berber",
        "translate sonnets",
        "sonnets",
        "at a kitchen table in Fez",
        "through many nights",
    ],
    [
        "Bridget",
        "sailed around the Hebrides",
        "sail around the Hebrides",
        "sailing trip",
        "in a leaking dinghy",
        "in May",
    ],
    ["Mateo", "shaved his beard", "shave his beard", "beard", "for a role in a silent film", "on Monday"],
    [
        "Yuki",
        "hid the engagement ring",
        "hide the ring",
        "engagement ring",
        "inside a hollow walnut",
        "before the picnic",
    ],
    [
        "Fatima",
        "cycled to Samarkand",
        "cycle to Samarkand",
        "bicycle tour",
        "with a tent and a trumpet",
        "in eleven months",
    ],
    ["Lars", "sank a canoe", "sink a canoe", "canoe", "full of cheese", "at the regatta"],
    ["Dorota", "drew a map of the cave", "draw a map", "cave map", "lying on her back in the mud", "on the third dive"],
    ["Enzo", "ate a scorpion", "eat a scorpion", "scorpion", "on the night market of Beijing", "because of a bet"],
    [
        "Grace",
        "spoke to the parliament",
        "speak to the parliament",
        "parliament",
        "about rivers and their rights",
        "on Wednesday",
    ],
    ["Fatima", "gave up her law degree", "give up her degree", "law degree", "to raise alpacas", "at thirty"],
    ["Lars", "wore a kilt", "wear a kilt", "kilt", "at the funeral of his piano teacher", "in spite of the storm"],
    [
        "Dorota",
        "chose a violin over a scholarship",
        "choose a violin",
        "violin",
        "in an attic in Cremona",
        "without a second thought",
    ],
    [
        "Enzo",
        "slept in a bus shelter",
        "sleep in a bus shelter",
        "bus shelter",
        "between Inverness and Ullapool",
        "after missing the ferry",
    ],
    ["Grace", "bred a blue orchid", "breed an orchid", "orchid", "in a bathtub with grow lights", "after six attempts"],
];

const TALK: &[&str] = &[
    "Good to hear from you! How has your week been so far?",
    "That sounds wonderful, tell me more when we meet.",
    "I was so tired yesterday that I went to bed at nine.",
    "We should really have dinner together one of these days.",
    "The weather is awful again, isn't it?",
];

pub fn corpus() -> Corpus {
    let mut corpus = Corpus { account: "ours".into(), texts: Vec::new(), questions: Vec::new() };
    for (n, [who, did, asked, thing, place, time]) in TOLD.iter().enumerate() {
        let id = format!("told{n}");
        let content = format!("{who}: You won't believe it, I {did} {place} {time}. I still think of it a lot.");
        corpus.texts.push(Text { id: id.clone(), name: format!("a{n}b{n}c"), content });
        for (m, talk) in TALK.iter().enumerate() {
            let other = TOLD[(n * 7 + m * 11 + 3) % TOLD.len()][0];
            let content = format!("{who}: Hello {other}! {talk}");
            corpus.texts.push(Text { id: format!("talk{n}-{m}"), name: format!("d{n}e{m}f"), content });
        }
        let asked = [
            ("when", format!("When did {who} {asked}?")),
            ("where", format!("Where did {who} {asked}, and how did it come about?")),
            ("what", format!("What was it that {who} did {time}?")),
            ("who", format!("Who has {did} {place}?")),
            ("about", format!("Could you tell me something about {who}'s {thing}")),
            ("thing", format!("which of my friends did {asked}")),
        ];
        for (category, text) in asked {
            corpus.questions.push(Asked { text, answers: vec![id.clone()], category: category.to_owned() });
        }
    }
    corpus
}
