"""Common words for what pictures show, none of which means a picture.

"The second car" is a car inside a picture and "player 2" is a player, whatever the order of the
pictures. That holds only for words that cannot mean a picture, so the list is closed: an unknown
word proves nothing. Words that may mean a picture ("panel", "sample", "view") or be an adjective or
a common verb ("orange", "match", "face") are left out on purpose.
"""

_PEOPLE = """
actor alien angel artist astronaut athlete author baby baker barber batter biker boxer boy bride
brother butcher captain carpenter cashier catcher character chef child clerk clown coach
competitor contestant couple customer cyclist dancer daughter defender doctor dragon driver
electrician engineer fairy family farmer father firefighter fisherman friend gentleman ghost girl
goalkeeper golfer groom guest gymnast hero hunter husband judge kicker kid king knight lady lawyer
loser man mechanic member monk monster mother motorcyclist musician nurse officer opponent owner
parent passenger pedestrian person pilot pirate pitcher player plumber policeman president priest
prince princess queen reader referee rider robot runner sailor scientist seller senator shopper
singer sister skateboarder skater skier snowboarder soldier son speaker squad striker student
surfer suspect swimmer teacher team teenager toddler tourist traveler umpire vendor victim viewer
villain visitor waiter waitress wife winner witness wizard woman worker wrestler writer
"""

_ANIMALS = """
alligator alpaca animal ant anteater antelope antler ape armadillo badger beagle beak bear beaver
bee beetle bird boar buffalo bull bulldog butterfly calf camel cat caterpillar chameleon cheetah
chick chicken chimpanzee chipmunk clam claw cobra cockroach cow coyote crab crane cricket
crocodile crow dinosaur dog dolphin donkey dove dragonfly duck duckling eagle eel egg elephant elk
falcon feather ferret fin flamingo foal fox frog gazelle gecko gerbil giraffe goat goldfish goose
gorilla grasshopper gull hamster hare hawk hedgehog hen heron hippo hippopotamus hoof horn horse
hound hummingbird husky hyena iguana insect jackal jaguar jellyfish kangaroo kitten koala ladybug
lamb lemur leopard lion lioness lizard llama lobster mane meerkat mongoose monkey mosquito moth
mouse mule nest newt octopus orangutan ostrich otter owl ox oyster panda panther parrot paw
peacock pelican penguin pig pigeon piglet pony poodle porcupine puppy python rabbit raccoon rat
raven ray reindeer retriever rhino rhinoceros robin rooster salamander scorpion seagull seahorse
seal shark skunk sloth slug snail snake snout spaniel sparrow spider squirrel starfish stingray
stork swan tail terrier tiger toad tortoise trunk turkey turtle vulture walrus warthog wasp weasel
whale whisker wing wolf wolfhound woodpecker worm zebra
"""

_BODY = """
ankle arm artery atrium beard belly body bone brain breast cell cheek chest chin ear elbow eye
eyebrow eyelid finger fist foot forehead hand head heart heel hip jaw kidney knee leg lesion lip
liver lobe lung mouth mustache nail neck nerve nodule nose nostril organ palm rib shin shoulder
skull stomach thigh throat thumb toe tongue tooth tumor vein ventricle wrist
"""

_CLOTHES = """
apron backpack bag belt bikini boot bracelet briefcase button cane cap coat collar crown dress
earring glove goggle gown handbag hat helmet hood hoodie jacket jersey mask mitten necklace pocket
purse ring robe sandal scarf shirt shoe skirt sleeve slipper sneaker sock suit suitcase sweater
swimsuit t-shirt tie umbrella uniform veil vest wallet zipper
"""

_VEHICLES = """
airplane ambulance anchor balloon bicycle bike boat brake bulldozer bumper bus cab canoe car
carriage cart drone engine excavator ferry forklift glider handlebar hatchback headlight
helicopter hovercraft jeep jet kayak limousine locomotive lorry mast minivan moped motor motorbike
motorcycle oar paddle parachute pedal pickup plane propeller raft rocket rudder saddle sail
sailboat scooter seat sedan ship shuttle skateboard ski sled snowboard stroller submarine
surfboard suv taillight taxi tire tractor trailer train tram tricycle trolley truck tyre van
vehicle wagon wheel wheelchair windshield yacht
"""

_PLACES = """
airport alley apartment arch arena attic avenue bakery balcony bank barn basement bathroom bay
beach bedroom bench booth boulder branch bridge building bush cabin cactus cafe canyon castle
cathedral cave ceiling chimney church city cliff cloud coast column condo corridor cottage country
court creek crosswalk daisy dam desert dock dome door doorway driveway elevator escalator factory
farm fence field floor flower forest fountain garage garden gate glacier grave greenhouse gym
hallway harbor harbour hedge highway hill home hospital hotel house hut iceberg inn intersection
island jungle kiosk kitchen ladder lake lane leaf library lighthouse lily lobby log lot mall
mansion market meadow monument moon mosque mountain museum mushroom ocean office palace patio
pebble petal pier pillar pitch planet plant platform pond pool porch port prison pub rainbow
restaurant rink river road rock roof room root roundabout runway school sea shed shop shore shrub
sidewalk silo sky skyscraper snowflake snowman stadium stair staircase stall star station statue
steeple stone store storey story stream street stump sun sunflower temple tent terrace theater
theatre tomb tower town track tree tulip tunnel valley village vine volcano wall warehouse
waterfall well windmill window yard
"""

_OBJECTS = """
accordion antenna aquarium arrow axe badge ball bandage banknote banner barrel barrier basket bat
bathtub battery beaker beam bed bill billboard bin birdhouse bishop blanket blender blind block
bolt bomb book bookshelf bottle bow bowl box broom brush bubble bucket bulb cabinet cable cage
cake calendar camera can candle cannon carpet carton cello cellphone cent chain chair chandelier
chopstick circle clock closet club coin comb computer cone cord couch crack crate crayon crib
cross crutch cube cup cupboard curtain cushion cylinder dart desk dial diamond dice dictionary die
dish dishwasher doghouse doll dollar domino dot drawer dresser drill drop droplet drum earphone
ellipse envelope eraser euro fan faucet firework flag flame flashlight flask flute fork freezer
fridge frisbee gauge gear gift glass guitar gun hairdryer hammer handle harp headphone heater
hexagon hole hook hose hydrant jar jug kennel kettle key keyboard kite knife knob ladle lamp
lamppost lantern laptop leash lens lever lid lighter lock magazine magnet mailbox marker mat medal
meter microphone microscope microwave mixer mop mug napkin needle newspaper nightstand notebook
nut octagon ornament ottoman oven package padlock pan parcel passport pawn pen pencil pentagon
phone piano pill pillow pipe pistol plug pole polygon post pot printer prism projector puck puddle
pulley puzzle pyramid racket rake rectangle refrigerator remote ribbon rifle ripple robotics rook
rug ruler satellite saw saxophone scissors scratch screw screwdriver shelf shield shovel shower
sign signal signpost sink smartphone socket sofa spark spatula spear sphere sponge spoon spot
spring stain stamp stapler stereo stethoscope stick sticker stool stove streetlight stripe stroke
switch sword syringe tablecloth tag tap teddy telephone telescope ticket toaster toilet toothbrush
torch towel toy trashcan tray triangle tripod trophy trumpet tube vacuum vase violin wardrobe
watch wave whisk wire wreath wrench
"""

_FOOD = """
apple asparagus avocado bagel banana bean beet biscuit blueberry bun burger burrito carrot
cauliflower cherry chip cocktail coconut cookie cracker croissant cucumber cupcake dessert donut
doughnut drink dumpling eggplant grape hamburger hotdog ingredient kiwi lemon loaf lollipop mango
meal meatball melon muffin noodle nugget onion pancake pear pepper pie pineapple pizza potato
pretzel pumpkin radish raspberry sandwich slice snack strawberry taco tomato topping turnip waffle
watermelon zucchini
"""

_TEXT_AND_NUMBERS = """
altitude angle anniversary arc atom axis bar battle birthday bisector bond category centimeter
centimetre century ceremony chord chromosome coefficient color colour continent course curve day
decade degree diameter digit district dose edge electron equation exit factor flight function
gallon game gene goal gram heading headline hour hue hypotenuse inch inning ion kilogram kilometer
kilometre label lap legend letter line liter litre marriage matrix median metre mile minute
molecule month name node number numeral paragraph peak percent phrase point pound prize proton
quadrant race radius route row run score season segment semester sentence shift side stanza stop
syllable tangent term tick time title ton trough variable vector verse vertex vote war wedding
week word year
"""

# Their plural is the singular: a count proves them, an ordinal does not.
_UNCOUNTED = (
    "aircraft", "bison", "deer", "fish", "moose", "people", "salmon", "sheep", "shrimp", "squid",
    "trout",
)  # fmt: skip

_IRREGULAR = {
    "calves": "calf", "children": "child", "dice": "die", "feet": "foot", "geese": "goose",
    "halves": "half", "hooves": "hoof", "knives": "knife", "leaves": "leaf", "loaves": "loaf",
    "men": "man", "mice": "mouse", "oxen": "ox", "scarves": "scarf", "shelves": "shelf",
    "teeth": "tooth", "vertices": "vertex", "wives": "wife", "wolves": "wolf", "women": "woman",
    "axes": "axis", "matrices": "matrix", "radii": "radius",
}  # fmt: skip

THINGS = frozenset(
    word
    for words in (
        _PEOPLE, _ANIMALS, _BODY, _CLOTHES, _VEHICLES, _PLACES, _OBJECTS, _FOOD, _TEXT_AND_NUMBERS,
    )
    for word in words.split()
)  # fmt: skip
"""The words in the singular."""


def is_thing(word: str) -> bool:
    """Whether a lower-case word is one of `THINGS`."""
    return word in THINGS


def are_things(word: str) -> bool:
    """Whether a lower-case word is the plural of one of `THINGS`."""
    if word in _UNCOUNTED or word in _IRREGULAR:
        return True
    if word.endswith("ies"):
        return word[:-3] + "y" in THINGS
    if word.endswith(("ches", "shes", "xes", "sses", "zes", "oes", "uses")) and word[:-2] in THINGS:
        return True
    return word.endswith("s") and word[:-1] in THINGS
