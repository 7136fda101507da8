"""Build the bundled sample corpus from public files.

    python scripts/build_sample.py --books books-*.jsonl.gz --textbooks textbooks.jsonl.gz

Inputs are JSON Lines with `title` and `text`: books cut from github.com/mlschmitt/classic-books-markdown,
textbook chapters cut from github.com/openstax/osbooks-principles-economics-bundle. Out come
`documents.jsonl.zst` and `LICENSE.md`; the same inputs give the same bytes.

A book is taken only when it stands in WORKS with the years in which its author and, for a
translation, its translator died, both more than 70 years ago.
"""

import argparse
import gzip
import hashlib
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import zstandard

LATEST_DEATH = 1954
"""The last year of death that puts a text in the public domain where it lasts life + 70 years."""
WORK_CHARS = 54_000
"""At most so much of one book, so that many authors fit."""
N_PARTS = 2
"""Documents a book is cut into."""
BOOKS_SOURCE = "classic-books-markdown"
ECONOMICS_SOURCE = "osbooks-principles-economics-bundle"
ECONOMICS_GROUP = "OpenStax: Principles of Economics 3e"

WORKS = """
A Study in Scarlet | Arthur Conan Doyle 1930
The Hound of the Baskervilles | Arthur Conan Doyle 1930
The Headless Horseman | Mayne Reid 1883
All Things Considered | G.K. Chesterton 1936
The Man Who Was Thursday | G.K. Chesterton 1936
Frankenstein | Mary Wollstonecraft Shelley 1851
The Last Man | Mary Wollstonecraft Shelley 1851
The Last Days of Pompeii | Edward Bulwer-Lytton 1873
Night and Day | Virginia Woolf 1941
Monday or Tuesday | Virginia Woolf 1941
The Call of the Wild | Jack London 1916
The Road | Jack London 1916
Persuasion | Jane Austen 1817
Northanger Abbey | Jane Austen 1817
Silas Marner | George Eliot 1880
Middlemarch | George Eliot 1880
The Terror | Arthur Machen 1947
Rights of Man | Thomas Paine 1809
Little Women | Louisa May Alcott 1888
Hospital Sketches | Louisa May Alcott 1888
David Copperfield | Charles Dickens 1870
Great Expectations | Charles Dickens 1870
The Pit | Frank Norris 1902
My Ántonia | Willa Cather 1947
Paul's Case | Willa Cather 1947
Typhoon | Joseph Conrad 1924
Heart of Darkness | Joseph Conrad 1924
Hamlet | William Shakespeare 1616
Much Ado About Nothing | William Shakespeare 1616
Cabin Fever | B.M. Bower 1940
The Importance of Being Earnest | Oscar Wilde 1900
The Picture of Dorian Gray | Oscar Wilde 1900
The Romance of the Forest | Ann Radcliffe 1823
The Last American | John Ames Mitchell 1918
Peter Pan | J. M. Barrie 1937
Wieland | Charles Brockden Brown 1810
The Time Machine | H.G. Wells 1946
The Invisible Man | H.G. Wells 1946
Anne of Avonlea | Lucy Maud Montgomery 1942
Ten Days that Shook the World | John Reed 1920
Dubliners | James Joyce 1941
A Portrait of the Artist as a Young Man | James Joyce 1941
The Interesting Narrative of the Life of Olaudah Equiano | Olaudah Equiano 1797
Dracula | Bram Stoker 1912
Leaves of Grass | Walt Whitman 1892
Lorna Doone | R.D. Blackmore 1900
This Side of Paradise | F. Scott Fitzgerald 1940
Five Children and It | Edith Nesbit 1924
The Marvelous Land of Oz | L. Frank Baum 1919
Treasure Island | Robert Louis Stevenson 1894
The Strange Case of Dr. Jekyll and Mr. Hyde | Robert Louis Stevenson 1894
Phantastes | George MacDonald 1905
The Celtic Twilight | W.B. Yeats 1939
The Awakening | Kate Chopin 1904
Our Nig | Harriet E. Wilson 1900
The Brick Moon | Edward Everett Hale 1909
Rupert of Hentzau | Anthony Hope 1933
Jane Eyre | Charlotte Bronte 1855
A Princess of Mars | Edgar Rice Burroughs 1950
Tarzan of the Apes | Edgar Rice Burroughs 1950
Ten Days in a Mad-House | Nellie Bly 1922
The Ambassadors | Henry James 1916
The Turn of the Screw | Henry James 1916
Women and Economics | Charlotte Perkins Gilman 1935
The Yellow Wallpaper | Charlotte Perkins Gilman 1935
Sons and Lovers | D.H. Lawrence 1930
Sea and Sardinia | D.H. Lawrence 1930
The Moon Pool | Abraham Merritt 1943
A Crystal Age | W.H. Hudson 1922
The Thirty-Nine Steps | John Buchan 1940
The Bell in the Fog and Other Stories | Gertrude Atherton 1948
Hawaii's Story | Queen Lili\u02bbuokalani 1917
Alice Adams | Booth Tarkington 1946
Allan Quatermain | H. Rider Haggard 1925
She | H. Rider Haggard 1925
The Wealth of Nations | Adam Smith 1790
The Lodger | Marie Belloc Lowndes 1947
Andy Gordon | Horatio Alger 1899
The Blue Hotel | Stephen Crane 1900
Old Christmas | Washington Irving 1859
The Legend of Sleepy Hollow | Washington Irving 1859
Barchester Towers | Anthony Trollope 1882
Doctor Thorne | Anthony Trollope 1882
Cranford | Elizabeth Gaskell 1865
Mary Barton | Elizabeth Gaskell 1865
Life on the Mississippi | Mark Twain 1910
Roughing It | Mark Twain 1910
Moby-Dick | Herman Melville 1891
Bartleby, the Scrivener | Herman Melville 1891
Through the Looking-Glass | Lewis Carroll 1898
Ivanhoe | Walter Scott 1832
The Merry Adventures of Robin Hood | Howard Pyle 1911
Far from the Madding Crowd | Thomas Hardy 1928
Tess of the d'Urbervilles | Thomas Hardy 1928
Uncle Tom's Cabin | Harriet Beecher Stowe 1896
An Occurrence at Owl Creek Bridge | Ambrose Bierce 1914
The House Behind the Cedars | Charles W. Chesnutt 1932
Wuthering Heights | Emily Bronte 1848
Agnes Grey | Anne Bronte 1849
Letters Written During a Short Residence in Sweden, Norway, and Denmark | Mary Wollstonecraft 1797
Tales of a Wayside Inn | Henry Wadsworth Longfellow 1882
Erewhon | Samuel Butler 1902
The Book of the Damned | Charles Fort 1932
The Coral Island | R.M. Ballantyne 1894
Lady Audley's Secret | Mary Elizabeth Braddon 1915
Moll Flanders | Daniel Defoe 1731
Journal of the Plague Year | Daniel Defoe 1731
The Oregon Trail | Francis Parkman 1893
The Education of Henry Adams | Henry Adams 1918
The House on the Borderland | William Hope Hodgson 1918
Oroonoko | Aphra Behn 1689
Hauntings | Vernon Lee 1935
Gulliver's Travels | Jonathan Swift 1745
The Last of the Mohicans | James Fenimore Cooper 1851
Pygmalion | George Bernard Shaw 1950
Kim | Rudyard Kipling 1936
Captains Courageous | Rudyard Kipling 1936
Irish Fairy Tales | James Stephens 1950
Ghost Stories of an Antiquary | M.R. James 1936
The Book of Tea | Okakura Kakuzo 1913
The Clue of the Twisted Candle | Edgar Wallace 1932
Uncanny Stories | May Sinclair 1946
Three Men in a Boat | Jerome K. Jerome 1927
Walden | Henry David Thoreau 1862
Civil Disobedience | Henry David Thoreau 1862
The Pilgrim's Progress | John Bunyan 1688
South! | Ernest Shackleton 1922
Carmilla | J. Sheridan LeFanu 1873
Narrative of the Life of Frederick Douglass | Frederick Douglass 1895
The Scarlet Letter | Nathaniel Hawthorne 1864
The House of the Seven Gables | Nathaniel Hawthorne 1864
Flatland | Edwin A. Abbott 1926
Tender Buttons | Gertrude Stein 1946
The Secret Garden | Frances Hodgson Burnett 1924
A Little Princess | Frances Hodgson Burnett 1924
Scarhaven Keep | J.S. Fletcher 1935
The King in Yellow | Robert W. Chambers 1933
Incidents in the Life of a Slave Girl | Harriet Jacobs 1897
The Scarlet Pimpernel | Emma Orczy 1947
The Moonstone | Wilkie Collins 1889
Main Street | Sinclair Lewis 1951
In the Fog | Richard Harding Davis 1916
The Monkey's Paw | W. W. Jacobs 1943
Riders of the Purple Sage | Zane Grey 1939
A Voyage to Arcturus | David Lindsay 1945
The Inside of the Cup | Winston Churchill 1947
The Story of an African Farm | Olive Schreiner 1920
Winesburg, Ohio | Sherwood Anderson 1941
A Treatise of Human Nature | David Hume 1776
Ramona | Helen Hunt Jackson 1885
Ben-Hur | Lew Wallace 1905
Moonfleet | J. Meade Falkner 1932
Xingu | Edith Wharton 1937
A Son at the Front | Edith Wharton 1937
Confessions of an English Opium-Eater | Thomas De Quincey 1859
Anarchism and Other Essays | Emma Goldman 1940
The Gates Ajar | Elizabeth Stuart Phelps 1911
A Narrative of the Captivity and Restoration of Mrs. Mary Rowlandson | Mary Rowlandson 1711
The Leavenworth Case | Anna Katharine Green 1935
The Other Wise Man | Henry van Dyke 1933
The Monk | Matthew Lewis 1818
The Willows | Algernon Blackwood 1951
Essays | Ralph Waldo Emerson 1882
The Wood Beyond the World | William Morris 1896
Clotel; or, The President's Daughter | William Wells Brown 1884
Travels in West Africa | Mary Kingsley 1900
King of the Khyber Rifles | Talbot Mundy 1940
Lord of the World | Robert Hugh Benson 1914
The Castle of Otranto | Horace Walpole 1797
The Lost Continent | C.J. Cutliffe Hyne 1944
Looking Backward | Edward Bellamy 1898
The Mummy! | Jane Webb 1858
Vanity Fair | William Makepeace Thackeray 1863
White Nights | Fyodor Dostoyevsky 1881 | Constance Garnett 1946
Crime and Punishment | Fyodor Dostoyevsky 1881 | Constance Garnett 1946
On War | Carl von Clausewitz 1831 | J.J. Graham 1883
The Republic | Plato -347 | Benjamin Jowett 1893
Paradiso | Dante 1321 | H.F. Cary 1844
My Prisons | Silvio Pellico 1854 | Thomas Roscoe 1871
Tao Te Ching | Laozi -531 | James Legge 1897
The Analects | Confucius -479 | James Legge 1897
First Love | Ivan Turgenev 1883 | Constance Garnett 1946
Critique of Pure Reason | Immanuel Kant 1804 | J. M. D. Meiklejohn 1902
Meditations | Marcus Aurelius 180 | George Long 1879
War and Peace | Leo Tolstoy 1910 | Louise and Aylmer Maude 1938
Les Misérables | Victor Hugo 1885 | Isabel F. Hapgood 1928
Swann's Way | Marcel Proust 1922 | C.K. Scott Moncrieff 1930
Democracy in America | Alexis de Tocqueville 1859 | Henry Reeve 1895
The Black Monk | Anton Chekhov 1904 | Constance Garnett 1946
The Hollow Needle | Maurice Leblanc 1941 | Alexander Teixeira de Mattos 1921
Persian Letters | Montesquieu 1755 | John Davidson 1909
Beauty and the Beast | Gabrielle-Suzanne Barbot de Villeneuve 1755 | J. R. Planché 1880
On the Bondage of the Will | Martin Luther 1546 | Henry Cole 1858
"""
"""Title | author and year of death | translator and year of death; negative years are BC."""


class Person(NamedTuple):
    """A name and the year of death."""

    name: str
    died: int

    def __str__(self) -> str:
        return f"{self.name} (died {self.died if self.died > 0 else f'{-self.died} BC'})"


class Work(NamedTuple):
    """A book that may ship, and why."""

    title: str
    author: Person
    translator: Person | None

    @property
    def group(self) -> str:
        """The key under which all parts of the book stay together."""
        return f"{self.author.name}: {self.title}"


def main() -> int:
    """Read the inputs, write the sample and its licence file."""
    parser = argparse.ArgumentParser(description="Build the bundled sample corpus.")
    parser.add_argument("--books", nargs="+", type=Path, required=True)
    parser.add_argument("--textbooks", nargs="+", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("src/lmscope/text/sample"))
    options = parser.parse_args()
    works = read_works()
    documents = [*book_documents(options.books, works), *economics_documents(options.textbooks)]
    documents.sort(key=_shuffled)
    options.out.mkdir(parents=True, exist_ok=True)
    raw = write_documents(options.out / "documents.jsonl.zst", documents)
    (options.out / "LICENSE.md").write_text(licence_text(works), encoding="utf-8")
    size = (options.out / "documents.jsonl.zst").stat().st_size
    sys.stderr.write(
        f"{len(documents)} documents, {len(works)} books, {raw:,} bytes of text, "
        f"{size:,} compressed\n"
    )
    return 0


def read_works() -> list[Work]:
    """The table WORKS, checked against LATEST_DEATH."""
    works = []
    for line in WORKS.strip().splitlines():
        title, *people = (part.strip() for part in line.split("|"))
        persons = [Person(p.rpartition(" ")[0], int(p.rpartition(" ")[2])) for p in people]
        if late := [str(p) for p in persons if p.died > LATEST_DEATH]:
            raise SystemExit(f"'{title}' may not ship: {', '.join(late)}.")
        works.append(Work(title, persons[0], persons[1] if len(persons) > 1 else None))
    return works


def book_documents(paths: Iterable[Path], works: Iterable[Work]) -> Iterator[dict[str, str]]:
    """The parts of every book in the table; a missing book or a foreign translator stops the build."""
    texts = {row["title"].strip(): row["text"] for path in paths for row in read_rows(path)}
    for work in works:
        if work.group not in texts:
            raise SystemExit(f"'{work.group}' is not in the books that were given.")
        head, _, text = texts[work.group].partition("-------")
        if "Author:" not in head:
            raise SystemExit(f"'{work.group}' has no head that ends in dashes.")
        translated = re.match(r"\s*(?:Translated by|English version by).*", text, re.IGNORECASE)
        if bool(translated) != (work.translator is not None):
            raise SystemExit(f"'{work.group}': the table and the text differ on a translator.")
        text = text[translated.end() :] if translated else text
        for number, part in enumerate(cut(clean(text)), start=1):
            yield {
                "id": f"{slug(work.group)}-{number}",
                "title": f"{work.group}, part {number}",
                "source": BOOKS_SOURCE,
                "licence": "public domain",
                "group": work.group,
                "text": part,
            }


def economics_documents(paths: Iterable[Path]) -> Iterator[dict[str, str]]:
    """Every chapter of the economics bundle, once; front matter is left out."""
    seen: set[str] = set()
    for row in (row for path in paths for row in read_rows(path)):
        if row["source"] != ECONOMICS_SOURCE or row["title"] == "Preface":
            continue
        if row["licence"] != "CC BY 4.0":
            raise SystemExit(f"'{row['title']}' is under {row['licence']}, which may not ship.")
        text = clean(row["text"])
        key = slug(row["title"])
        if key in seen:  # the bundle holds some chapters in two or three of its books
            continue
        seen.add(key)
        yield {
            "id": f"openstax-economics-{key}",
            "title": f"{ECONOMICS_GROUP}, {row['title']}",
            "source": ECONOMICS_SOURCE,
            "licence": "CC BY 4.0",
            "group": ECONOMICS_GROUP,
            "text": text,
        }


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a compressed JSON Lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def clean(text: str) -> str:
    """Text without stray marks: no BOM inside, no spaces at line ends, no runs of blank lines."""
    text = text.replace("\ufeff", "").replace("\u00a0", " ").replace("\r", "")
    text = re.sub(r"[ \t]+\n", "\n", text)
    text = re.sub(r"\n[ \t]+(?=\S)", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def cut(text: str) -> list[str]:
    """The text's beginning in N_PARTS pieces of about equal length that end at paragraphs."""
    if len(text) > WORK_CHARS:
        text = text[: text.rindex("\n\n", 0, WORK_CHARS)].strip()
    pieces = []
    for left in range(N_PARTS, 1, -1):
        at = text.find("\n\n", len(text) // left)
        pieces.append(text[:at].strip())
        text = text[at:].strip()
    return [*pieces, text]


def slug(text: str) -> str:
    """Lower-case words joined by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def write_documents(path: Path, documents: list[dict[str, str]]) -> int:
    """Write the compressed rows; returns bytes of text."""
    rows = io.StringIO()
    for document in documents:
        rows.write(json.dumps(document, ensure_ascii=False) + "\n")
    data = rows.getvalue().encode()
    parameters = zstandard.ZstdCompressionParameters.from_level(
        22, window_log=24, enable_ldm=True, write_checksum=True
    )
    path.write_bytes(zstandard.ZstdCompressor(compression_params=parameters).compress(data))
    return sum(len(document["text"].encode()) for document in documents)


def licence_text(works: list[Work]) -> str:
    """The licence file: every source, author, licence and change."""
    lines = [
        "# Licences of the bundled sample text",
        "",
        "`documents.jsonl.zst` holds excerpts from the works below. `scripts/build_sample.py` built it.",
        "",
        "## Economics textbook: CC BY 4.0",
        "",
        "Chapters of *Principles of Economics 3e*, *Principles of Macroeconomics 3e* and *Principles of",
        "Microeconomics 3e* by David Shapiro, Daniel MacDonald and Steven A. Greenlaw, OpenStax, Rice",
        "University, licensed under the Creative Commons Attribution 4.0 International Licence",
        "(https://creativecommons.org/licenses/by/4.0/). Copyright Rice University, OpenStax.",
        "",
        "Access for free at https://openstax.org/books/principles-economics-3e/pages/1-introduction.",
        "Source files: https://github.com/openstax/osbooks-principles-economics-bundle.",
        "",
        "Changes: converted to plain text; figures, tables, mark-up and prefaces left out; chapters that",
        "stand in several of the books kept once. OpenStax does not endorse this project or its changes;",
        "the OpenStax name and logo are not under the Creative Commons licence.",
        "",
        "## Books: public domain",
        "",
        f"Every book was first published before 1929, and its author and translator died in {LATEST_DEATH}",
        "or before. Texts: https://github.com/mlschmitt/classic-books-markdown. Changes: the first",
        f"{WORK_CHARS:,} characters at most, cut at a paragraph into {N_PARTS} parts.",
        "",
        "| title | author | translator |",
        "|---|---|---|",
    ]
    lines += [f"| {w.title} | {w.author} | {w.translator or ''} |" for w in works]
    return "\n".join(lines) + "\n"


def _shuffled(document: dict[str, str]) -> bytes:
    """A fixed mixed order, so that the first contexts already come from many works."""
    return hashlib.sha256(document["id"].encode()).digest()


if __name__ == "__main__":
    sys.exit(main())
