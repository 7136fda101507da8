"""Words of our own that the tasks are made of; each task takes those that a tokenizer has."""

from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES: Final = _words(
    """
    John Mary George Alice Henry Anne Jane Robert Michael Peter Charles Paul Sara Tom Andrew William James
    Stephen Kim Laura Oliver Joe Anna Harry Joseph Catherine Bill Isabella Sally Dan Amelia Marie Jim Louis
    Elizabeth Rebecca Oscar Leo Gabriel Carol Frank Thomas Ross Ernest Amy David Walter Martin Lucy Emma Jack
    Sam Ben Kate Ruth Rose Simon Mark Luke Adam Alan Albert Alex Alfred Arthur Barbara Brian Chris Claire
    Daniel Diana Edward Ellen Emily Eric Fred Grace Hannah Helen Ian Jason Jean Jennifer Jessica Julia Karen
    Kevin Larry Lisa Margaret Maria Matthew Nancy Nick Patrick Philip Rachel Richard Ryan Sarah Scott Sophie
    Steve Susan Tim Tony Victoria
    """
)
"""First names; each is written with a space before it."""

PLACES: Final = _words(
    """
    house church school garden station market river office library kitchen village theatre hospital harbour
    castle shop
    """
)
"""Where two people may be."""

THINGS: Final = _words(
    """
    letter book ring key coat box bottle picture ball basket knife watch map bag cup coin
    """
)
"""What one of them may give to the other."""

EVENTS: Final = _words(
    """
    war siege strike reign trial journey drought peace famine voyage dispute crusade rebellion pilgrimage
    campaign project
    """
)
"""What may last for years."""

NOUNS: Final = tuple(
    (pair.split("/")[0], pair.split("/")[1])
    for pair in _words(
        """
    boy/boys girl/girls king/kings friend/friends doctor/doctors brother/brothers sister/sisters dog/dogs
    horse/horses bird/birds tree/trees house/houses book/books letter/letters room/rooms door/doors
    window/windows street/streets river/rivers ship/ships man/men woman/women child/children soldier/soldiers
    officer/officers teacher/teachers author/authors farmer/farmers picture/pictures table/tables
    flower/flowers garden/gardens mountain/mountains car/cars student/students servant/servants lady/ladies
    guest/guests stone/stones field/fields boat/boats key/keys cabinet/cabinets road/roads village/villages
        """
    )
)
"""Singular and plural."""

PLAIN: Final = _words(
    """
    water light stone river garden window table paper music winter summer morning evening letter dinner
    silver golden green white black yellow round heavy quiet sudden gentle bitter honest simple strange
    mother father brother sister doctor captain soldier servant teacher stranger
    house church school market village city street bridge tower castle forest mountain island valley desert
    horse bird fish tree flower grass snow rain wind storm cloud fire smoke dust sand
    bread milk wine sugar salt apple fruit meat butter coffee
    hand head heart voice face shoulder finger knee tooth blood
    war peace king queen prince law power money trade labour price
    early late never often always almost hardly truly again together
    run walk speak listen write read carry follow gather wonder
    """
)
"""Words that are put in a random order; each is written with a space before it."""
