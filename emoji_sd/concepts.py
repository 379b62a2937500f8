"""The concepts and drawing styles that emoji-SD knows.

Each row is one concept: its name, the slug that Twemoji, Noto and Fluent share for its icon, the code point of its
Fluent 3D picture, a coarse category, and synonyms, which belong to this concept alone.
"""

from __future__ import annotations

from dataclasses import dataclass

STYLES: tuple[str, ...] = ("3d", "flat", "pixel", "blueprint")

PAPER_TEN: tuple[str, ...] = (
    "fish",
    "dog",
    "radio",
    "saw",
    "church",
    "trumpet",
    "truck",
    "fuel pump",
    "golf",
    "parachute",
)
"""Doubles of the ten Imagenette classes of Bui et al. (2024), in the order of the data set."""

# name | icon slug | Fluent 3D code point | category | synonyms
_TABLE = """
fish|fish|1f41f|animal|tench, trout, salmon
dog|dog-face|1f436|animal|puppy, hound, springer spaniel
radio|radio|1f4fb|music|cassette player, transistor radio, boombox
saw|carpentry-saw|1fa9a|tool|chainsaw, handsaw
church|church|26ea|place|chapel, cathedral
trumpet|trumpet|1f3ba|music|french horn, cornet, bugle
truck|articulated-lorry|1f69b|vehicle|lorry, garbage truck
fuel pump|fuel-pump|26fd|object|gas pump, petrol station, gas station
golf|flag-in-hole|26f3|sport|golf ball, golf course, putting green
parachute|parachute|1fa82|sport|skydiving, paratrooper
cat|cat-face|1f431|animal|kitten, kitty
tiger|tiger-face|1f42f|animal|bengal tiger, tigress
lion|lion|1f981|animal|lioness, king of the jungle
fox|fox|1f98a|animal|vixen, red fox
panda|panda|1f43c|animal|giant panda, bamboo bear
frog|frog|1f438|animal|toad, bullfrog
pig|pig-face|1f437|animal|piglet, hog, swine
elephant|elephant|1f418|animal|mammoth, pachyderm
giraffe|giraffe|1f992|animal|long-necked animal, tall savanna animal
zebra|zebra|1f993|animal|striped horse, black and white horse
whale|spouting-whale|1f433|animal|humpback, sperm whale
penguin|penguin|1f427|animal|emperor penguin, antarctic bird
owl|owl|1f989|animal|night bird, barn owl
flamingo|flamingo|1f9a9|animal|pink wading bird, pink bird
peacock|peacock|1f99a|animal|peafowl, peahen
rooster|rooster|1f413|animal|cockerel, hen, chicken
snake|snake|1f40d|animal|serpent, viper, cobra
turtle|turtle|1f422|animal|tortoise, terrapin
crab|crab|1f980|animal|crustacean, king crab
octopus|octopus|1f419|animal|kraken, tentacled animal
butterfly|butterfly|1f98b|animal|moth, monarch butterfly
snail|snail|1f40c|animal|slug, escargot
spider|spider|1f577-fe0f|animal|tarantula, arachnid
ladybug|lady-beetle|1f41e|animal|ladybird, beetle
bee|honeybee|1f41d|animal|honeybee, bumblebee, wasp
apple|red-apple|1f34e|food|red apple, gala apple
banana|banana|1f34c|food|plantain, bananas
grapes|grapes|1f347|food|grape, bunch of grapes
strawberry|strawberry|1f353|food|strawberries, red berry
watermelon|watermelon|1f349|food|melon, slice of melon
pineapple|pineapple|1f34d|food|ananas, spiky tropical fruit
cherry|cherries|1f352|food|cherries, pair of cherries
lemon|lemon|1f34b|food|citrus, sour yellow fruit
carrot|carrot|1f955|food|carrots, orange root vegetable
broccoli|broccoli|1f966|food|cauliflower, green vegetable
mushroom|mushroom|1f344|food|toadstool, fungus
hamburger|hamburger|1f354|food|burger, cheeseburger
pizza|pizza|1f355|food|slice of pizza, margherita
donut|doughnut|1f369|food|doughnut, glazed ring
ice cream|soft-ice-cream|1f366|food|gelato, soft serve, frozen yogurt
cheese|cheese-wedge|1f9c0|food|cheddar, gouda
fries|french-fries|1f35f|food|french fries, potato chips
avocado|avocado|1f951|food|guacamole, alligator pear
bus|bus|1f68c|vehicle|coach, school bus, omnibus
bicycle|bicycle|1f6b2|vehicle|bike, cycle
airplane|airplane|2708-fe0f|vehicle|aeroplane, jet, plane
helicopter|helicopter|1f681|vehicle|chopper, rotorcraft
rocket|rocket|1f680|vehicle|spaceship, space shuttle
sailboat|sailboat|26f5|vehicle|sailing boat, yacht
train|locomotive|1f682|vehicle|locomotive, steam engine, railway engine
tractor|tractor|1f69c|vehicle|farm vehicle, harvester
car|automobile|1f697|vehicle|automobile, sedan
castle|castle|1f3f0|place|fortress, palace
tent|tent|26fa|place|campsite, camping
volcano|volcano|1f30b|place|eruption, crater
ferris wheel|ferris-wheel|1f3a1|place|observation wheel, funfair ride
guitar|guitar|1f3b8|music|electric guitar, bass guitar, ukulele
drum|drum|1f941|music|snare, bongo
piano|musical-keyboard|1f3b9|music|piano keys, synthesizer
bell|bell|1f514|object|doorbell, chime
scissors|scissors|2702-fe0f|tool|shears, clippers
key|key|1f511|object|door key, house key
umbrella|umbrella|2602-fe0f|object|parasol, brolly
light bulb|light-bulb|1f4a1|object|bulb, lamp
candle|candle|1f56f-fe0f|object|taper, candlelight
hourglass|hourglass-done|231b|object|sand timer, sandglass
camera|camera|1f4f7|object|photo camera, dslr
telephone|telephone|260e-fe0f|object|landline, rotary phone
crown|crown|1f451|object|tiara, diadem
top hat|top-hat|1f3a9|object|hat, magician hat
glasses|glasses|1f453|object|spectacles, eyeglasses
balloon|balloon|1f388|object|party balloon, helium balloon
gift|wrapped-gift|1f381|object|present, wrapped box
teddy bear|teddy-bear|1f9f8|object|stuffed toy, teddy
anchor|anchor|2693|object|ship anchor, mooring
trophy|trophy|1f3c6|sport|gold cup, award
soccer ball|soccer-ball|26bd|sport|football, soccer
bomb|bomb|1f4a3|object|explosive, grenade
diamond|gem-stone|1f48e|object|gemstone, jewel, gem
traffic light|vertical-traffic-light|1f6a6|object|stoplight, traffic signal
robot|robot|1f916|creature|android, cyborg
ghost|ghost|1f47b|creature|phantom, spirit
skull|skull|1f480|creature|skeleton, cranium
snowman|snowman|2603-fe0f|creature|frosty, man of snow
christmas tree|christmas-tree|1f384|nature|xmas tree, decorated fir
palm tree|palm-tree|1f334|nature|palm, coconut tree
cactus|cactus|1f335|nature|saguaro, succulent
sunflower|sunflower|1f33b|nature|helianthus, big yellow flower
rose|rose|1f339|nature|red rose, rosebud
maple leaf|maple-leaf|1f341|nature|autumn leaf, maple
rainbow|rainbow|1f308|nature|arc of colours, spectrum
moon|crescent-moon|1f319|nature|crescent, lunar crescent
star|star|2b50|nature|gold star, five-pointed star
fire|fire|1f525|nature|flame, bonfire
snowflake|snowflake|2744-fe0f|nature|ice crystal, snow crystal
"""


@dataclass(frozen=True)
class Concept:
    """One thing that emoji-SD can draw.

    ``slug`` names its icon in the Iconify sets, ``code_point`` its file in the Fluent 3D set.
    """

    name: str
    slug: str
    code_point: str
    category: str
    synonyms: tuple[str, ...]


def _parse(table: str) -> tuple[Concept, ...]:
    rows = (line.split("|") for line in table.strip().splitlines())
    return tuple(
        Concept(name, slug, code, category, tuple(word.strip() for word in words.split(",")))
        for name, slug, code, category, words in rows
    )


CONCEPTS: tuple[Concept, ...] = _parse(_TABLE)
NAMES: tuple[str, ...] = tuple(concept.name for concept in CONCEPTS)
CATEGORIES: tuple[str, ...] = tuple(sorted({concept.category for concept in CONCEPTS}))
