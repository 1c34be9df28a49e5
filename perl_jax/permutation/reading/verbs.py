"""Words of comparing, of change and of what stands still, in closed lists."""

_COMPARATIVES = """
angrier better bigger blacker bluer blunter blurrier brighter busier cheaper cleaner clearer
closer colder cooler crowdeder darker dearer deeper denser dirtier drier earlier easier emptier
farther faster fatter fewer flatter fresher fuller further grainier grayer greater greener greyer
happier harder healthier heavier higher hotter larger later less lesser lighter longer looser
louder lower minor more narrower nearer newer nicer noisier older paler poorer prettier pricier
quieter redder richer rougher rounder sadder safer shallower sharper shorter sicker simpler
slimmer slower smaller smoother softer sooner sparser steeper straighter stronger taller thicker
thinner tighter tougher uglier warmer weaker wetter whiter wider worse yellower younger
"""
COMPARATIVES = frozenset(_COMPARATIVES.split())
"""Words that compare with something."""

_NO_COMPARATIVES = """
after amber anger another answer antler baker banner barrier batter beater beggar bidder biker
bladder blazer blogger boiler bomber booster border boulder browser bulldozer bumper burger
butcher butler butter buyer calendar camper cancer carrier carter cashier catcher caterpillar
cellar center chamber chandelier character charger charter cheerleader circular climber clipper
clover cluster clutter collar computer consider consumer container cooler copper corner counter
courier cover cracker crater cucumber customer cutter cylinder dancer danger daughter december
designer differ digger diner dinner dipper dishwasher diver dollar dozer drawer dresser driver
drummer eager eagle easter eastern eater either ember encounter enter ever farmer farrier feather
fever fighter filter finger firefighter fisher flipper flower fodder folder foreigner former
framer freezer freighter gamer gardener garner gender ginger glacier glimmer golfer grocer gutter
hamburger hammer hanger header heater helicopter helper her hiker holder hopper hover however
hunter inner jogger jumper ladder lager lancer laser later latter laughter lawyer layer leader
leather letter lever lighthouse liner liter litter liver loader locker lower lumber major maker
manager manger manner marker master matter meager member messenger meter miner monster mower
neither never newspaper november number october odder offer officer order other outer over owner
oyster painter paper partner passenger pattern pepper per performer pier pillar pitcher planter
plaster player plumber pointer popular porter poster powder power prayer prefer premier printer
programmer proper quarter quiver ranger rather reader refer register regular remember reporter
rider river roller rooster rubber ruler runner saucer scanner scooter screener september server
sewer sharper shopper shoulder shower shutter silver silverware similar singer sister skateboarder
skater skier slaughter slender slipper sneaker snowboarder soccer soldier speaker spider spinner
starter steamer sticker stopper streamer stretcher summer super supporter surfer sweater swimmer
tanner teacher teenager tender terrier theater thriller thunder tier tiger tiler timber toaster
together topper tower trader trailer trainer transfer traveler trigger trimmer tumbler twitter
under upper user viewer villager wager waiter washer water weather whether whistler winter wonder
wrapper wrestler writer zipper
"""
NO_COMPARATIVES = frozenset(_NO_COMPARATIVES.split()) - COMPARATIVES
"""Words that end like one and do not compare."""

_CHANGE = """
action actions add added adding addition additional adds after again aged aging ago ahead already
anymore appear appears applied applies arrival arrive arrived arrives arriving baseline become
becomes becoming before begin beginning begins bloom blooms causes click clicked cliffhanger come
comes comic comics coming completed concatenate consequence continue continued continues
continuing continuous conversation conversion convert converted converts crop cropped cured
decrease decreased decreases decreasing decrement delete deleted delta depart departed departing
departs departure deteriorate deteriorates deterioration develop developed developing development
develops dialogue disappear disappeared disappears displacement distort distorts double doubled
doubles drift duration earlier edit edited editing edits effects elapsed emerge emerges ending
endings episode evolution evolve evolved evolves evolving exchange expand expanded expanding
expands expansion extra fall falling falls finale finish finishes finishing flip flipped flips
follow follows freeze freezes freezing frozen future gain gaining gains go goes going gone grow
growing grown grows growth halve halved halves happen happening happens heal healed healing heals
history improve improved improvement improves improving increase increased increases increasing
increment inferior insert inserted instead interval joke keep keeps later leading leave leaving
lose loses losing loss melt melted melting melts modification modified modify moral move movement
moves multiplies multiply multiplying narrates narrative navigate navigates new now occur occurs
outcome outdated panorama panoramic passed passes precede precedes pressed previously prior
procedure proceed proceeds process progress progressed progresses progressing progression
punchline reach reaches rearranged rebuilt recent recently recover recovered recovering recovers
recovery reduce reduced reduces reducing reduction refilled regress regresses regression remain
remains removal remove removed removes removing renovated reopened repainted repaired replace
replaced replacement replaces replacing restored result resulting results return returned returns
ripen ripened ripens rise rises rising rot rotate rotates rotating rotation rots scroll scrolled
sequel sequence shift shifting shifts shrink shrinkage shrinking shrinks shrunk since solved spell
spells spread spreading spreads start starting starts stay stays still stopping stories story
strip succeed succeeds superior swap swipe swiped tap tapped till timeline today tomorrow
transform transformation transformed transforms transition transitions trend trends triple turn
turns until update updated updates upgrade upgraded vanish vanished vanishes version versions will
wilt wilted wilts worsen worsened worsening worsens yesterday yet zoom zoomed zooming zooms
"""
CHANGE = frozenset(_CHANGE.split())
"""Words of change, of time, of causes and of reading from one image to the next."""

_PASTS = """
ate became began bent bit blew bore bought broke brought built came caught chose clung dealt did
drank drew drove dug fed fell felt flew forgot fought found froze gave got grew had heard held hid
hung kept laid lay led lent lost made meant met paid ran rang rode rose said sang sank sat saw
sent shook shot shrunk slept sold sought spent spoke sprang sprung spun stole stood struck stuck
stung swam swept swore swung taught thought threw told took tore was went wept were woke won wore
wrote
"""
PASTS = frozenset(_PASTS.split()) - {
    "held", "hung", "found", "lay", "built", "made", "bent", "stuck", "caught",
    "laid", "led", "fed", "left",
}  # fmt: skip
"""Past tenses that are no participles of what stands still."""

_PARTICIPLES = """
become been begun bitten blown bought broken brought built caught chosen come cut done drawn
driven drunk eaten fallen flown forgotten fought found given grown hidden hung kept known left
lost made met put ridden risen seen sent set shaken shown slept sold spent spoken taken taught
thought thrown torn won worn written
"""
PARTICIPLES = frozenset(_PARTICIPLES.split())
"""Participles that tell with "has" what happened."""

_STATIC = """
are attached bark barking being belong belongs bend bending bite biting brush brushing burn
burning can carries carry carrying catch catching chase chasing chew chewing clean cleaning climb
climbing climbs closed consist consists contain containing contains cook cooking cooks cover
covering covers crouch crouching cry crying cut cutting dance dances dancing depict depicts differ
differs display displays do does drink drinking drinks drive drives driving eat eating eats equal
equals exist exists face faces facing feature features feed feeding fight fighting fill filling
fills fish fishing flies float floating floats fly flying glow glowing graze grazes grazing
growing hang hanging hangs has have hit hitting hold holding holds hug hugging illustrate
illustrates include includes including is jump jumping jumps kick kicking kiss kissing kneel
kneeling lack lacks laugh laughing lean leaning leans lick licking lie lies look looking looks
lying made match matches missing need open overlap overlapping paint painting parked perch perches
perching play playing plays point pointing points pose poses posing pour pouring pull pulling
pulls push pushes pushing race racing raining remainder represent represents resemble resembles
rest resting ride rides riding row rowing run running runs see seeing seem seems sees serve
serving share shares shine shines shining shop shopping show showing shows sing singing sit sits
sitting skate skating ski skiing sleep sleeping sleeps smile smiles smiling snowing stand standing
stands surf surfing surround surrounding surrounds swim swimming swims swing swinging talk talking
talks there throw throwing touch touches touching type typing use uses using walk walking walks
wash washing watch watches watching wear wearing wears work working works write writing yawn
yawning
"""
STATIC = frozenset(_STATIC.split())
"""Verbs of what a single picture shows."""

_INDEFINITES = """
a all an animals any at both dogs each eight either every exactly few five four many most neither
nine no nobody none one only people seven several six some somebody someone ten there three two
"""
INDEFINITES = frozenset(_INDEFINITES.split())
"""Words that begin a sentence about what there is in some image."""
