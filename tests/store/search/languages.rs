//! 24 languages and more: a text in each, and eight of its words.

use context_store::{Paging, SearchOptions, Write};

use crate::{
    on_each_backend,
    support::{admin, uri},
};

/// Language, text, words.
const LANGUAGES: &[(&str, &str, [&str; 8])] = &[
    (
        "english",
        "The gardener was watering her tomatoes while the neighbours quarrelled about a broken fence.",
        ["gardener", "watering", "tomatoes", "neighbours", "quarrelled", "broken", "fence", "Tomato"],
    ),
    (
        "german",
        "Die Gärtnerin gießt ihre Tomaten, während sich die Nachbarn über einen zerbrochenen Zaun streiten.",
        ["Gärtnerin", "gießt", "Tomaten", "Nachbarn", "zerbrochenen", "Zaun", "streiten", "GIESST"],
    ),
    (
        "french",
        "La jardinière arrose ses tomates pendant que les voisins se disputent l'échelle cassée.",
        ["jardinière", "arrose", "tomates", "voisins", "disputent", "échelle", "cassée", "ECHELLE"],
    ),
    (
        "spanish",
        "La jardinera riega sus tomates mientras los vecinos discuten por una valla rota del año pasado.",
        ["jardinera", "riega", "tomates", "vecinos", "discuten", "valla", "año", "anos"],
    ),
    (
        "italian",
        "La giardiniera annaffia i suoi pomodori mentre i vicini litigano per dell'acqua e perché c'è siccità.",
        ["giardiniera", "annaffia", "pomodori", "vicini", "litigano", "acqua", "siccità", "siccita"],
    ),
    (
        "portuguese",
        "A jardineira rega os seus tomates enquanto os vizinhos discutem por causa do portão e não da informação.",
        ["jardineira", "rega", "tomates", "vizinhos", "discutem", "portão", "informação", "INFORMACAO"],
    ),
    (
        "dutch",
        "De tuinvrouw begiet haar tomaten terwijl de buren ruziën over een gebroken schutting.",
        ["tuinvrouw", "begiet", "tomaten", "buren", "ruziën", "gebroken", "schutting", "ruzien"],
    ),
    (
        "swedish",
        "Trädgårdsmästaren vattnar sina tomater medan grannarna grälar om ett trasigt staket.",
        ["trädgårdsmästaren", "vattnar", "tomater", "grannarna", "grälar", "trasigt", "staket", "GRÄLAR"],
    ),
    (
        "danish",
        "Gartneren vander sine tomater, mens naboerne skændes om et ødelagt hegn på gården.",
        ["gartneren", "vander", "tomater", "naboerne", "skændes", "ødelagt", "hegn", "gården"],
    ),
    (
        "norwegian",
        "Gartneren vanner tomatene sine mens naboene krangler om et knust gjerde ved sjøen.",
        ["gartneren", "vanner", "tomatene", "naboene", "krangler", "knust", "gjerde", "sjøen"],
    ),
    (
        "finnish",
        "Puutarhuri kastelee tomaattejaan samalla kun naapurit riitelevät rikkoutuneesta aidasta.",
        ["puutarhuri", "kastelee", "tomaattejaan", "naapurit", "riitelevät", "rikkoutuneesta", "aidasta", "RIITELEVÄT"],
    ),
    (
        "hungarian",
        "A kertész megöntözi a paradicsomait, miközben a szomszédok egy törött kerítésen veszekednek.",
        ["kertész", "megöntözi", "paradicsomait", "szomszédok", "törött", "kerítésen", "veszekednek", "KERTÉSZ"],
    ),
    (
        "romanian",
        "Grădinăreasa își udă roșiile în timp ce vecinii se ceartă pentru un gard rupt.",
        ["grădinăreasa", "udă", "roșiile", "vecinii", "ceartă", "gard", "rupt", "rosiile"],
    ),
    (
        "turkish",
        "Bahçıvan domateslerini sularken komşular İstanbul'da kırık bir çit yüzünden tartışıyor.",
        ["bahçıvan", "domateslerini", "sularken", "komşular", "İstanbul", "kırık", "çit", "istanbul"],
    ),
    (
        "polish",
        "Ogrodniczka podlewa pomidory, a sąsiedzi kłócą się o złamany płot obok łąki.",
        ["ogrodniczka", "podlewa", "pomidory", "sąsiedzi", "kłócą", "złamany", "płot", "laki"],
    ),
    (
        "czech",
        "Zahradnice zalévá rajčata, zatímco se sousedé hádají kvůli rozbitému plotu.",
        ["zahradnice", "zalévá", "rajčata", "sousedé", "hádají", "rozbitému", "plotu", "RAJČATA"],
    ),
    (
        "vietnamese",
        "Người làm vườn tưới cà chua trong khi hàng xóm cãi nhau về hàng rào gãy.",
        ["người", "vườn", "tưới", "chua", "xóm", "cãi", "rào", "gãy"],
    ),
    (
        "russian",
        "Садовница поливает помидоры, пока соседи ссорятся из-за сломанного забора у ёлки.",
        ["садовница", "поливает", "помидоры", "соседи", "ссорятся", "сломанного", "забор", "елка"],
    ),
    (
        "ukrainian",
        "Садівниця поливає помідори, поки сусіди сваряться через зламаний паркан біля їхньої хати.",
        ["садівниця", "поливає", "помідори", "сусіди", "сваряться", "зламаний", "паркан", "їхньої"],
    ),
    (
        "greek",
        "Η κηπουρός ποτίζει τις ντομάτες της ενώ οι γείτονες μαλώνουν για τον σπασμένο φράχτη στον ΔΡΟΜΟΣ.",
        ["κηπουρός", "ποτίζει", "ντομάτες", "γείτονες", "μαλώνουν", "σπασμένο", "φράχτη", "δρόμος"],
    ),
    (
        "arabic",
        "البستانية تسقي الطماطم بينما يتشاجر الجيران حول السياج المكسور في القرية",
        ["البستانية", "تسقي", "الطماطم", "يتشاجر", "الجيران", "السياج", "المكسور", "القرية"],
    ),
    (
        "hebrew",
        "הגננת משקה את העגבניות בזמן שהשכנים מתווכחים על גדר שבורה בכפר שָׁלוֹם",
        ["הגננת", "משקה", "העגבניות", "שהשכנים", "מתווכחים", "גדר", "שבורה", "שלום"],
    ),
    (
        "hindi",
        "मालिन अपने टमाटरों को पानी देती है जबकि पड़ोसी टूटी हुई बाड़ पर हिन्दी में झगड़ते हैं",
        ["मालिन", "टमाटरों", "पानी", "पड़ोसी", "टूटी", "बाड़", "हिन्दी", "झगड़ते"],
    ),
    (
        "bengali",
        "মালী টমেটোতে জল দিচ্ছে আর প্রতিবেশীরা ভাঙা বেড়া নিয়ে ঝগড়া করছে",
        ["মালী", "টমেটোতে", "জল", "প্রতিবেশীরা", "ভাঙা", "বেড়া", "ঝগড়া", "করছে"],
    ),
    (
        "tamil",
        "தோட்டக்காரர் தக்காளிக்கு தண்ணீர் ஊற்றுகிறார் அண்டை வீட்டார் உடைந்த வேலிக்காக சண்டையிடுகிறார்கள்",
        ["தோட்டக்காரர்", "தக்காளிக்கு", "தண்ணீர்", "ஊற்றுகிறார்", "அண்டை", "உடைந்த", "வேலிக்காக", "சண்டையிடுகிறார்கள்"],
    ),
    (
        "thai",
        "คนสวนรดน้ำมะเขือเทศที่บ้านขณะที่เพื่อนบ้านทะเลาะกันเรื่องรั้วพัง",
        ["คนสวน", "รดน้ำ", "มะเขือเทศ", "ที่บ้าน", "เพื่อนบ้าน", "ทะเลาะ", "รั้ว", "พัง"],
    ),
    (
        "khmer",
        "អ្នកថែសួនស្រោចទឹកប៉េងប៉ោះខណៈដែលអ្នកជិតខាងឈ្លោះគ្នា",
        ["អ្នកថែសួន", "ស្រោចទឹក", "ប៉េងប៉ោះ", "ខណៈ", "អ្នកជិតខាង", "ឈ្លោះ", "គ្នា", "ទឹក"],
    ),
    (
        "chinese",
        "园丁给番茄浇水的时候，邻居们为了一道坏掉的篱笆争吵，早上喝绿茶。",
        ["园丁", "番茄", "浇水", "邻居", "篱笆", "争吵", "早上", "绿茶"],
    ),
    (
        "japanese",
        "庭師がトマトに水をやっている間、隣人たちは壊れた垣根のことで口論していた。",
        ["庭師", "トマト", "隣人", "壊れた", "垣根", "口論", "水", "ﾄﾏﾄ"],
    ),
    (
        "korean",
        "정원사가 토마토에 물을 주는 동안 이웃들은 부서진 울타리 때문에 다투었다.",
        ["정원사", "토마토", "물을", "동안", "이웃", "부서진", "울타리", "다투었다"],
    ),
];

on_each_backend! {
    async fn w5_words_of_thirty_languages_are_found_in_their_texts(t: TestStore) {
        for (language, text, _) in LANGUAGES {
            let place = uri(&format!("ctx://acme/resources/{language}"));
            t.store.write(&admin(), &place, &Write::of(*text)).await.expect("a write");
        }
        t.store.drain().await.expect("a drain");
        let options = SearchOptions { paging: Paging::first(5), ..SearchOptions::default() };
        for (language, _, words) in LANGUAGES {
            let mut decomposed = Vec::new();
            for word in words {
                use unicode_normalization::UnicodeNormalization;
                decomposed.push(word.nfd().collect::<String>());
            }
            for word in words.iter().copied().chain(decomposed.iter().map(String::as_str)) {
                let found = t.store.search(&admin(), word, &options).await.expect("a search");
                let hit = found.items.iter().find(|hit| hit.uri.name() == *language);
                let hit = hit.unwrap_or_else(|| panic!("{word} is not found in {language}: {:?}", found.items));
                assert!(hit.snippet.contains('['), "{word}: {}", hit.snippet);
            }
        }
    }
}
