"""The words of the demo's little world: people, things, days, units, countries."""

from typing import Final, NamedTuple

NAMES: Final = ("Tom", "Ana", "Ben", "Eva", "Max", "Lea", "Sam", "Mia", "Leo", "Zoe", "Kai", "Ida")
THINGS: Final = ("apples", "books", "coins", "cards", "stars", "shells", "pens", "cakes", "eggs", "keys")
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"

WORDS: Final = (
    "apple", "banana", "lemon", "orange", "cherry", "grape", "melon", "peach", "plum", "berry", "tiger",
    "zebra", "horse", "sheep", "panda", "camel", "eagle", "otter", "rabbit", "kitten", "puppy", "monkey",
    "donkey", "parrot", "spider", "beetle", "turtle", "lizard", "salmon", "oyster", "table", "chair",
    "window", "door", "floor", "carpet", "mirror", "pillow", "blanket", "lamp", "river", "ocean",
    "island", "forest", "desert", "valley", "meadow", "canyon", "garden", "bridge", "street", "tunnel",
    "castle", "temple", "market", "school", "office", "library", "museum", "theater", "pencil", "paper",
    "letter", "number", "marker", "folder", "button", "needle", "thread", "fabric", "cotton", "velvet",
    "leather", "copper", "silver", "golden", "bronze", "marble", "crystal", "diamond", "winter", "summer",
    "spring", "autumn", "monday", "morning", "evening", "midnight", "thunder", "lightning", "rainbow",
    "breeze", "shadow", "sunset", "planet", "comet", "rocket", "engine", "wheel", "butter", "cheese",
    "pepper", "ginger", "garlic", "onion", "potato", "tomato", "carrot", "cabbage", "coffee", "sugar",
    "honey", "cookie", "muffin", "noodle", "pickle", "raisin", "walnut", "almond", "guitar", "violin",
    "trumpet", "piano", "drum", "flute", "melody", "rhythm", "dancer", "singer", "painter", "writer",
    "doctor", "farmer", "baker", "tailor", "sailor", "soldier", "hunter", "pilot",
)  # fmt: skip


class Country(NamedTuple):
    """A country with the two facts that the demo asks for."""

    name: str
    capital: str
    continent: str


COUNTRIES: Final = (
    Country("France", "Paris", "Europe"),
    Country("Spain", "Madrid", "Europe"),
    Country("Italy", "Rome", "Europe"),
    Country("Germany", "Berlin", "Europe"),
    Country("Poland", "Warsaw", "Europe"),
    Country("Greece", "Athens", "Europe"),
    Country("Norway", "Oslo", "Europe"),
    Country("Sweden", "Stockholm", "Europe"),
    Country("Finland", "Helsinki", "Europe"),
    Country("Denmark", "Copenhagen", "Europe"),
    Country("Portugal", "Lisbon", "Europe"),
    Country("Ireland", "Dublin", "Europe"),
    Country("Austria", "Vienna", "Europe"),
    Country("Hungary", "Budapest", "Europe"),
    Country("Romania", "Bucharest", "Europe"),
    Country("Bulgaria", "Sofia", "Europe"),
    Country("Ukraine", "Kyiv", "Europe"),
    Country("Croatia", "Zagreb", "Europe"),
    Country("Egypt", "Cairo", "Africa"),
    Country("Kenya", "Nairobi", "Africa"),
    Country("Ghana", "Accra", "Africa"),
    Country("Nigeria", "Abuja", "Africa"),
    Country("Morocco", "Rabat", "Africa"),
    Country("Senegal", "Dakar", "Africa"),
    Country("Japan", "Tokyo", "Asia"),
    Country("China", "Beijing", "Asia"),
    Country("India", "New Delhi", "Asia"),
    Country("Iran", "Tehran", "Asia"),
    Country("Iraq", "Baghdad", "Asia"),
    Country("Vietnam", "Hanoi", "Asia"),
    Country("Thailand", "Bangkok", "Asia"),
    Country("Nepal", "Kathmandu", "Asia"),
    Country("Qatar", "Doha", "Asia"),
    Country("Cuba", "Havana", "America"),
    Country("Peru", "Lima", "America"),
    Country("Chile", "Santiago", "America"),
    Country("Canada", "Ottawa", "America"),
    Country("Brazil", "Brasilia", "America"),
    Country("Argentina", "Buenos Aires", "America"),
    Country("Mexico", "Mexico City", "America"),
)


class Unit(NamedTuple):
    """One `larger` is `factor` times one `smaller`."""

    larger: str
    smaller: str
    factor: int


UNITS: Final = (
    Unit("hours", "minutes", 60),
    Unit("minutes", "seconds", 60),
    Unit("days", "hours", 24),
    Unit("weeks", "days", 7),
    Unit("years", "months", 12),
    Unit("feet", "inches", 12),
    Unit("dozens", "pieces", 12),
    Unit("meters", "centimeters", 100),
    Unit("kilograms", "grams", 1000),
    Unit("kilometers", "meters", 1000),
    Unit("centimeters", "millimeters", 10),
)
