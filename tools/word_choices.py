"""Words chosen by hand for ``make_word_list.py``, where WordNet gives no answer."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# WordNet lists these as things, but in captions they are names, brands, fragments, verbs, function words, insults, or
# nothing that can be seen.
DROPPED = _words(
    """
    accused additive adjustment affinity aggregate amazon arsenal ass assembly author baba backer banging
    bash bearer beau beginner bey billy bit blanc bloke bobby bolo bonding boob borough bouncing boundary
    bourne brad bravo breakable breaker brink brute bum burgh bush buyer calculus cape case caster
    catastrophe cement chance change changer charge chin chosen chuck classic client closeup coincidence
    col collaborator coming competitor consequence conservation consumer contributor conversion coon cop
    coping counsel counterpart coupling crap cure customer dam damn dean defeat defender delta derby
    derrick descent dick direction dope drome dud duration editorial effect eland emergence enclosure end
    energy erica extent facing factor fag fall fate favourite fella fellow filler filling finder flashing
    fleck flowing foe fold follower fraction frank freeman freshman fury gage galore gay genesis gent
    ghetto gig giver grinding grub gulf gully hack handling hank happening harp harper hater heather heir
    hell helping hock holder homer homosexual housing idiot idol impact impairment import improvement
    inception incident incompetent induction infield inning innovation insider instance instructor invalid
    ion irving jack jean jerk john joss judas junior keeper killing kin kirk knocking lair landrover lap
    lapel lat leak learner left lesbian letterman liberal licking limb linden listener loading loser lotte
    mac maker male manifestation manila marc maria member mercer mere michael midst mike mine mire moron
    mover murphy namesake newcomer nobody nominee observer obstruction occasion occurrence ode official
    onset opening opponent orderly outcome outsider owner papa participant partner parts passing patty
    pawn payer perpetrator place playoff point popping pore port possessor pounding product prof provider
    pussy quack qualifier queer racist radical raising rapist rear receiver recipient ref region rein
    release representative rescue response result reverend ringing roaring robin rump runoff scorer sector
    seeker segment seller senior serving setback setting shaft sham shift shim shire shopper side simp
    sinking slack slammer slave slit slut snip sod sole solution sonny sophomore source spire splay spoke
    spot stall stance starter stein stiff stranger stuff stump subset substitute success successor suction
    superior supplier supporter surge system tailgate taker tapping tart taxpayer teaser tenor terrorist
    thill thinker thrill throwback tick till tine tit top total tourney tract transformation trend tress
    trey trivia trump trustee tum tweet twitter unification unpaid uplifting usage user variable variant
    variation vendor verge victim victor viewer villain virgin voter watcher ways whereabouts whiz whore
    will work works wrinkle yahoo youngster zone
    """
)
# Nouns that WordNet does not list as things: activities, styles, moods, groups, times and places.
NOUNS = _words(
    """
    abstraction adventure afternoon allegory anger anime anxiety aquarelle arms army arrow arts atmosphere
    audience autumn band baroque baseball battery battle beam beauty bike birth birthday board book bra
    branch business cafe calligraphy camping cartoon chain chaos charcoal childhood church circus class
    cleaning clothing club collage column comedy comic community company concert conference construction
    cooking couple courage court crew crowd cubism culture dancing danger darkness data dawn day delight
    department disease division doodle dragon drama drawing dream drinking education election elf
    engineering etching evening excitement exercise exhibition expressionism family fantasy farming
    fashion fear feeding fiction fighting film fishing flight folk football forest freedom fresco future
    futurism game gang gin glory golf gothic government graffiti grief gymnastics hair harmony health
    heart herd heritage history holiday horror household hunger hunting illness illustration image
    impressionism joke journey joy jury justice laughter law league lecture letter liberty library light
    literature lithograph love luck luxury magazine magic map market marketing marriage mathematics
    medicine meeting melancholy memory mess method midnight miniature minimalism mission mob model
    modernism mom mood morning mosaic motion movie mural murder music mystery myth nation nature navy
    network news newspaper night noon novel number opera orchestra origami ornament page pain painting
    pair panic party pastel path patrol pattern peace people performance philosophy photograph physics
    picture pile pixel playing pleasure plot poem poetry police pop portrait poster poverty prayer pride
    privacy propaganda pub radio rage reading realism reflection rehearsal religion renaissance research
    retirement revenge rhythm ritual rococo romance romanticism row sadness sale school science season sex
    shade shadow shape shopping sight sign signal silence silhouette singing sketch ski skill sleep soccer
    song sorrow spa speech speed sport spring squad staff stage steampunk stem storm story stress studio
    style suffering summer sunrise sunset surprise surrealism survival symbol symmetry table tattoo team
    technology television temperature tension terror text texture theme therapy thought traffic tragedy
    training travel trip trouble twilight union university vacation view village violence vision voyage
    war warning washing watercolor watercolour wealth weekend winter wisdom woodcut woods word worry
    worship writing yoga youth zoo
    """
)
# Adjectives of looks, materials, moods and styles.
ADJECTIVES = _words(
    """
    abandoned abstract aerial aggressive alive alone ancient angry antique armed asleep automatic awake
    awful awkward bad bald bearded beautiful big bitter bizarre black blind blonde bloody blue blurred
    bold brave bright brilliant broken brown busy calm careful casual charming cheap childish circular
    classical clean clear closed cloudy cold colored colorful comfortable complex confused cool cosmic
    crazy creative creepy crimson crowded cruel curious curly curved cute damp dangerous dark dead deadly
    deep delicate delicious detailed digital dirty distant domestic dramatic dressed drunk dry dull dusty
    dystopian eastern elaborate elderly electric elegant empty enormous epic eternal evil exotic expensive
    expressive fake famous fancy fantastic fast fat festive fierce flat floral foggy foolish foreign
    formal fragile free fresh friendly frozen funny furious futuristic fuzzy gentle geometric giant
    gigantic glamorous glorious glossy golden good gorgeous gothic graceful grand gray greasy green grey
    grim gross grumpy handmade handsome happy hard haunted healthy heavy heroic hidden high holy hot huge
    humorous hungry icy ill imaginary industrial infinite injured insane intense intimate intricate
    invisible isolated japanese joyful juicy lazy little lively lonely long loud lovely lucky luminous
    lush mad magical magnificent married massive mechanical medieval messy metallic mighty military
    minimal misty mixed modern monochrome muddy mysterious mystic naked narrow native natural neat nervous
    new noble nuclear odd old open oral orange organic ornate outdoor painful pale peaceful perfect pink
    plain pleasant poor powerful precious pregnant pretty primitive psychedelic pure purple quiet rainy
    raw realistic red religious remote retro rich ripe romantic rotten rough round royal rugged rural
    rustic sacred sad salty scared scary scenic seated serene serious shallow sharp shiny short shy
    sick silent silky silly simple sleepy slender slim slow small smart smooth snowy soft spicy spiritual
    spooky square stained steep sticky stormy strange striped strong stupid sunny surreal sweet
    symmetrical tall tasty tender terrible thick thin tight tiny tired torn tough traditional tragic
    translucent transparent tribal tropical twisted ugly underground underwater unhappy unusual upright
    urban vast vertical vibrant victorian vintage violent vivid warm weak weird western wet whimsical
    white wicked wide wild windy wise wonderful wooden worn worried wounded yellow young
    """
)
