"""Sample data, and a sample photo that is made here, so that the first run has something to work on."""

import io
import math
from datetime import datetime

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from backbeat.models import Post, User
from backbeat_ops.seed import Network

USERS = (("user-1", "Ada", "en"), ("user-2", "Émile", "fr"), ("user-3", "Noor", "en"))
POSTS = (
    ("post-1", "user-1", "Up before the sun #morning #hills"),
    ("post-2", "user-2", "Le soleil se lève #matin #hills"),
    ("post-3", "user-3", "Where is this? #hills"),
)
"""Those that the events in events/ name."""
PEOPLE, POSTS_OF_THEIRS = 40, 150
"""How large a network is written around them."""
RANDOM_SEED = 9
"""Of its posts few are old and unwanted: fewer than the brake of a clean-up lets pass."""


def seed(now: datetime) -> None:
    """Write the users and posts that the events name, and a small network around them, where they are not there yet."""
    new = False
    for user_id, name, locale in USERS:
        if User.join(user_id, name=name, email=f"{user_id}@example.com", locale=locale, at=now):
            User.log_in(user_id, at=now)
            new = True
    for post_id, author_id, text in POSTS:
        Post.publish(post_id, author_id=author_id, text=text, at=now)
    if new:
        Network(PEOPLE, POSTS_OF_THEIRS, random_seed=RANDOM_SEED, until=now).write(lambda kind, rows: None)


def photo() -> bytes:
    """A 12-megapixel JPEG as a phone takes it: lying on its side, with an orientation and a place in its metadata."""
    width, height = 3024, 4032
    sky = Image.linear_gradient("L").resize((width, height))
    red, green, blue = (sky.point([round(a + (b - a) * x / 255) for x in range(256)]) for a, b in SKY)
    picture = Image.merge("RGB", (red, green, blue))
    sun = Image.new("L", (width, height))
    ImageDraw.Draw(sun).ellipse([1900, 1500, 2500, 2100], fill=255)
    glow = sun.resize((width // 8, height // 8)).filter(ImageFilter.GaussianBlur(40)).resize((width, height))
    picture.paste((255, 236, 190), mask=ImageChops.lighter(sun, glow))
    draw = ImageDraw.Draw(picture)
    for step, (base, rough, colour) in enumerate(HILLS):
        ridge = [
            (x, base + rough * (math.sin(x / (410 - 60 * step) + step) + 0.4 * math.sin(x / (130 - 20 * step))))
            for x in range(0, width + 16, 16)
        ]
        draw.polygon([(0, height), *ridge, (width, height)], fill=colour)
    grain = Image.effect_noise((width // 2, height // 2), 18).resize((width, height))
    picture = Image.blend(picture, Image.merge("RGB", (grain,) * 3), 0.06)

    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turn by 90 degrees to the right
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4] = "N", (52.0, 12.0, 15.0), "E", (0.0, 7.0, 40.0)
    exif[0x8825] = gps
    file = io.BytesIO()
    picture.transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", quality=90, exif=exif)
    return file.getvalue()


SKY = ((38, 250), (58, 190), (110, 140))
HILLS = (
    (2150, 90, (142, 108, 122)),
    (2500, 120, (96, 74, 100)),
    (2900, 140, (56, 48, 76)),
    (3350, 150, (26, 26, 46)),
)
