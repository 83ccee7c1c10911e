//! What a stemmer cannot know of English: irregular forms, how people talk, and the other spelling.
//!
//! A form is here only if it means its base nearly wherever it stands. `left`, `found` and `saw` are verbs more often than
//! not; `lay` and `wound` are not, and stay as they are.

use std::{collections::HashMap, sync::LazyLock};

/// Auxiliaries and pointers that the list of stop words lacks.
pub(super) const ALSO_STOP_WORDS: &[&str] =
    &["could", "would", "might", "must", "shall", "also", "us", "upon", "whose", "cannot", "ll", "ve", "im", "dont"];

/// The base, then what stands for it.
const FORMS: &str = "
be am are been is was were being
have has had having
do does did done doing
go went gone goes going gonna
say said
get got gotten
make made
know knew known
think thought
take took taken
see saw seen
come came
find found
give gave given
tell told
feel felt
leave left
keep kept
begin began begun
write wrote written
stand stood
hear heard
mean meant
meet met
run ran
pay paid
sit sat
speak spoke spoken
lead led
grow grew grown
lose lost
fall fell fallen
send sent
build built
understand understood
draw drew drawn
break broke broken
spend spent
rise rose risen
drive drove driven
buy bought
wear wore worn
choose chose chosen
win won
teach taught
catch caught
bring brought
eat ate eaten
drink drank drunk
sing sang sung
swim swam swum
fly flew flown
ride rode ridden
sleep slept
sell sold
hold held
fight fought
throw threw thrown
steal stole stolen
hide hid hidden
forget forgot forgotten
become became
show shown
wake woke woken
shoot shot
feed fed
lend lent
bend bent
deal dealt
dream dreamt
learn learnt
burn burnt
freeze froze frozen
shake shook shaken
shrink shrank shrunk
sink sank sunk
spring sprang sprung
stick stuck
strike struck
swear swore sworn
tear tore torn
weave wove woven
seek sought
bite bit bitten
blow blew blown
hang hung
dig dug
forgive forgave forgiven
overcome overcame
withdraw withdrew withdrawn
undergo underwent undergone
child children kid kids
man men
woman women
person people persons
foot feet
tooth teeth
goose geese
mouse mice
life lives
wife wives
knife knives
leaf leaves
half halves
shelf shelves
wolf wolves
mother mom mum mommy mummy momma moms mums
father dad daddy papa dads
grandmother grandma granny nana grandmas
grandfather grandpa granddad grandpas
brother bro
sister sis
picture pic pics photo photos photograph photographs
movie film films flick
bicycle bike bikes biking
television tv
refrigerator fridge
vegetable veggie veggies veg
university uni
information info
favorite favourite fave fav favourites
color colour colours coloured colouring
flavor flavour flavours flavoured
neighbor neighbour neighbours
neighborhood neighbourhood
behavior behaviour behaviours
honor honour honours honoured
humor humour
labor labour
rumor rumour rumours
center centre centres
theater theatre theatres
liter litre litres
meter metre metres
organize organise organised organises organising
realize realise realised realises realising
recognize recognise recognised recognises recognising
apologize apologise apologised apologises
analyze analyse analysed analysing
traveled travelled
traveling travelling
traveler traveller travellers
gray grey
program programme programmes
catalog catalogue catalogues
dialog dialogue dialogues
license licence licences
defense defence
jewelry jewellery
pajamas pyjamas
want wanna wanted
january jan
february feb
april apr
august aug
september sept
october oct
november nov
1 one
2 two
3 three
4 four
5 five
6 six
7 seven
8 eight
9 nine
10 ten
11 eleven
12 twelve
";

static BASES: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| {
    let mut bases = HashMap::new();
    for line in FORMS.lines() {
        let mut words = line.split(' ');
        let base = words.next().unwrap_or_default();
        bases.extend(words.map(|form| (form, base)));
    }
    bases
});

/// The base of an irregular or informal form; any other word as it is.
pub(super) fn base(surface: &str) -> &str {
    BASES.get(surface).copied().unwrap_or(surface)
}
