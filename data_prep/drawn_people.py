"""A drawn person in a drawn room, speaking: an array of frames.

The room and the body are drawn once for each clip, the head once for each
opening of the mouth; a frame is then two pastes. Everything is drawn at twice
its size and scaled down, which smooths the edges.
"""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from data_prep.drawn_voices import CONTROL_RATE

WIDTH, HEIGHT = 640, 360          # pixels, 16:9 as the clips of the data set
FRAME_RATE = 30                   # frames per second, the same
SWAY = 8                          # pixels, how far the camera may drift
SUPERSAMPLING = 2
MOUTHS = 6                        # openings of the mouth that are drawn
HEAD_SIZE = (190, 250)            # pixels, the patch that holds a head

# Colours keep close to grey and to one brightness where they could be taken
# for a cue of the light.

WALLS = ((176, 170, 160), (165, 170, 172),
         (172, 166, 172), (166, 172, 162), (178, 168, 160))
JUMPERS = ((120, 124, 150), (148, 122, 122),
           (122, 146, 126), (136, 136, 136), (150, 142, 118))
SKINS = ((236, 196, 170), (224, 176, 144),
         (196, 148, 116), (158, 112, 84), (122, 84, 64))
HAIRS = ((52, 40, 34), (92, 62, 40), (150, 108, 62),
         (190, 156, 100), (120, 116, 114))
PATTERNS = ('stripes', 'dots', 'diamonds', 'checks')
HAIR_CUTS = ('short', 'long', 'bun', 'curly')
THINGS = ('picture', 'plant', 'lamp', 'shelf')


class Person(NamedTuple):
    """What stays the same in every clip of a video and means nothing."""

    wall: tuple           # RGB
    jumper: tuple         # RGB
    skin: tuple           # RGB
    hair: tuple           # RGB
    hair_cut: str         # one of HAIR_CUTS
    glasses: bool
    pattern: str          # one of PATTERNS; how bold it is, is a cue
    thing: str            # one of THINGS, in the background
    thing_left: bool      # which side it stands on
    x: float              # pixels, centre of the head
    y: float              # pixels, centre of the head
    sway: tuple           # two phases of the camera's drift, radians


def draw_person(rng):
    """Draw the meaningless part of a picture (see :class:`Person`)."""
    def one_of(choices):
        return choices[int(rng.integers(len(choices)))]

    def tinted(colour):
        return tuple(int(c) for c in np.clip(
            np.array(colour) + rng.integers(-6, 7, 3), 0, 255))

    return Person(
        wall=tinted(one_of(WALLS)), jumper=tinted(one_of(JUMPERS)),
        skin=tinted(one_of(SKINS)), hair=tinted(one_of(HAIRS)),
        hair_cut=one_of(HAIR_CUTS), glasses=bool(rng.random() < 0.3),
        pattern=one_of(PATTERNS), thing=one_of(THINGS),
        thing_left=bool(rng.random() < 0.5),
        x=WIDTH / 2 + rng.uniform(-70, 70), y=150 + rng.uniform(-12, 12),
        sway=tuple(rng.uniform(0, 2 * math.pi, 2)))


def frames(person, utterance, cues, seconds, rng):
    """The frames of a clip, one after the other.

    Args:
        person (Person): who speaks.
        utterance (data_prep.drawn_voices.Utterance): moves the mouth.
        cues (dict): ``light`` (exposure), ``warmth`` (-1 … 1), ``smile``
            (-1 … 1), ``pattern`` (contrast, 0 … 1); see
            :mod:`data_prep.demo_cues`.
        seconds (float): length, in seconds.
        rng (numpy.random.Generator): source of the chance (blinking, nodding).

    Yields:
        numpy.ndarray: uint8 ``(360, 640, 3)``, RGB, 30 for each second.
    """
    n_frames = max(1, int(round(seconds * FRAME_RATE)))
    time = np.arange(n_frames) / FRAME_RATE
    control_time = np.arange(len(utterance.opening)) / CONTROL_RATE
    opening = np.interp(time, control_time, utterance.opening)
    mouth = np.rint(opening * (MOUTHS - 1)).astype(int)
    blinking = _blinks(time, rng)

    room = _light(_room(person, cues['pattern']), cues)
    heads = {}
    nod, turn = rng.uniform(0, 2 * math.pi, 2)
    for i, t in enumerate(time):
        look = (int(mouth[i]), bool(blinking[i]))
        if look not in heads:
            heads[look] = _light(_head(person, cues['smile'], *look), cues)
        # The camera in the hand, the head that goes along with its speech.
        left = SWAY * (1 + math.sin(0.9 * t + person.sway[0])) / 2
        top = SWAY * (1 + math.sin(1.3 * t + person.sway[1])) / 2
        x = person.x + 4 * math.sin(1.7 * t + turn)
        y = person.y + 3 * math.sin(2.9 * t + nod) - 3 * opening[i]
        left, top = round(left), round(top)
        frame = room.crop((left, top, left + WIDTH, top + HEIGHT))
        corner = (round(x - HEAD_SIZE[0] / 2) + SWAY // 2 - left,
                  round(y - HEAD_SIZE[1] / 2) + SWAY // 2 - top)
        frame.paste(heads[look], corner, heads[look])
        yield np.asarray(frame)


def _blinks(time, rng):
    """Where the eyes are shut: bool (n_frames,), 130 ms every few seconds."""
    shut = np.zeros(len(time), dtype=bool)
    now = rng.uniform(0.3, 3.0)
    while now < time[-1]:
        shut |= (time >= now) & (time < now + 0.13)
        now += rng.uniform(1.5, 4.5)
    return shut


def _light(image, cues):
    """The picture under the cue's light; transparency is left as it is."""
    warmth = cues['warmth']
    # Amber adds red and takes blue; the brightness stays about even.
    gain = cues['light'] * np.array(
        (1 + 0.30 * warmth, 1 + 0.02 * warmth, 1 - 0.38 * warmth), np.float32)
    pixels = np.array(image, dtype=np.float32)
    lit = pixels[..., :3] * gain
    # Highlights are compressed above 200, not cut off.
    lit = np.where(lit > 200, 200 + 55 * np.tanh((lit - 200) / 55), lit)
    pixels[..., :3] = lit
    return Image.fromarray(_to_bytes(pixels))


def _to_bytes(pixels):
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _around(x, y):
    """A function from pixels around (x, y) to PIL's supersampled coordinates.
    """
    def points(*offsets):
        return [SUPERSAMPLING * (offset + (x, y)[i % 2])
                for i, offset in enumerate(offsets)]
    return points


def _room(person, contrast):
    """Wall, one thing in the background, and the body; no head."""
    size = WIDTH + SWAY, HEIGHT + SWAY
    room = _patterned(person.wall, person.pattern, contrast, size, 34)
    draw = ImageDraw.Draw(room)
    _draw_thing(draw, person.thing, 95 if person.thing_left else WIDTH - 95)

    jumper = _patterned(person.jumper, person.pattern, contrast, size, 22)
    body = Image.new('L', room.size, 0)
    draw = ImageDraw.Draw(body)
    at = _around(person.x + SWAY / 2, person.y + SWAY / 2)
    draw.rounded_rectangle(
        at(-135, 118, 135, 400), radius=70 * SUPERSAMPLING, fill=255)
    draw.rounded_rectangle(
        at(-52, 96, 52, 178), radius=24 * SUPERSAMPLING, fill=255)
    room.paste(jumper, (0, 0), body)
    return room.resize(size, Image.LANCZOS)


def _patterned(colour, pattern, contrast, size, period):
    """An area of one colour with a repeated mark, supersampled: mode RGB."""
    # Where in its cell a point lies, -0.5 … 0.5 in both directions.
    u, v = ((np.arange(n * SUPERSAMPLING) / SUPERSAMPLING / period) % 1 - 0.5
            for n in size)
    u, v = u[None, :], v[:, None]
    mark = {
        'stripes': (np.abs(u) < 0.25) & (v == v),
        'dots': u ** 2 + v ** 2 < 0.36 ** 2,
        'diamonds': np.abs(u) + np.abs(v) < 0.42,
        'checks': (u > 0) ^ (v > 0),
    }[pattern]
    # Part of it darker, part lighter: a bold pattern is about as bright as a
    # plain wall.
    swing = 0.38 * contrast * np.where(mark, -1.0, 1.0)
    pixels = np.array(colour) * (1 + swing[..., None])
    return Image.fromarray(_to_bytes(pixels))


def _draw_thing(draw, thing, x):
    """A picture, a plant, a lamp or a shelf, around the column x."""
    dark, middle, pale = (96, 84, 74), (134, 128, 116), (206, 200, 188)
    at = _around(x, 0)
    if thing == 'picture':
        draw.rectangle(at(-46, 60, 46, 130), fill=dark)
        draw.rectangle(at(-39, 67, 39, 123), fill=pale)
        draw.polygon(at(-36, 120, -8, 84, 22, 120), fill=middle)
    elif thing == 'plant':
        for lean in (-34, -18, 0, 18, 34):
            draw.polygon(at(-6, 262, lean, 150 + abs(lean), 6, 262),
                         fill=(96, 122, 92))
        draw.polygon(at(-30, 258, 30, 258, 22, 330, -22, 330),
                     fill=(150, 120, 104))
    elif thing == 'lamp':
        draw.rectangle(at(-3, 150, 3, 400), fill=dark)
        draw.polygon(at(-24, 90, 24, 90, 44, 156, -44, 156), fill=pale)
    else:
        draw.rectangle(at(-62, 150, 62, 160), fill=dark)
        for i, tone in enumerate((middle, pale, dark, middle, pale)):
            left = 20 * i - 54
            draw.rectangle(at(left, 104 + 7 * (i % 3), left + 16, 150),
                           fill=tone)


def _head(person, smile, mouth, blinking):
    """One head with neck and hair, transparent around it: mode RGBA."""
    s = SUPERSAMPLING
    size = HEAD_SIZE[0] * s, HEAD_SIZE[1] * s
    image = Image.new('RGBA', size, (*person.hair, 0))
    draw = ImageDraw.Draw(image)
    at = _around(HEAD_SIZE[0] / 2, HEAD_SIZE[1] / 2)
    shade = tuple(int(0.84 * c) for c in person.skin)

    if person.hair_cut == 'long':
        draw.rounded_rectangle(
            at(-78, -84, 78, 96), radius=68 * s, fill=person.hair)
    elif person.hair_cut == 'bun':
        draw.ellipse(at(-30, -122, 30, -66), fill=person.hair)
    elif person.hair_cut == 'curly':
        for angle in np.linspace(math.pi * 0.95, math.pi * 2.05, 11):
            x, y = 66 * math.cos(angle), -18 + 70 * math.sin(angle)
            draw.ellipse(at(x - 24, y - 24, x + 24, y + 24), fill=person.hair)
    draw.rounded_rectangle(at(-30, 40, 30, 122), radius=22 * s, fill=shade)
    for ear in (-66, 66):
        draw.ellipse(at(ear - 11, -12, ear + 11, 22), fill=shade)
    draw.ellipse(at(-66, -86, 66, 88), fill=person.hair)
    draw.ellipse(at(-64, -74, 64, 88), fill=person.skin)
    draw.chord(at(-66, -90, 66, 30), 197, 343, fill=person.hair)

    for x in (-27, 27):
        _draw_eye(draw, at, x, smile, blinking, person)
    draw.arc(at(-11, 0, 11, 28), 20, 160, fill=shade, width=4 * s)
    _draw_mouth(draw, at, smile, mouth / (MOUTHS - 1))
    return image.resize(HEAD_SIZE, Image.LANCZOS)


def _draw_eye(draw, at, x, smile, blinking, person):
    """One eye with its brow, and the half of the glasses that is there."""
    s = SUPERSAMPLING
    if blinking:
        draw.arc(at(x - 12, -18, x + 12, 2), 20, 160, (60, 46, 42), 3 * s)
    else:
        draw.ellipse(at(x - 13, -18, x + 13, 2), fill=(244, 242, 238))
        draw.ellipse(at(x - 6, -15, x + 6, -2), fill=(62, 52, 46))
        draw.ellipse(at(x + 1, -13, x + 4, -10), fill=(250, 250, 250))
    lift = 3 * smile
    draw.arc(at(x - 17, -38 - lift, x + 17, -14 - lift),
             205, 335, person.hair, 5 * s)
    if person.glasses:
        frame = (50, 48, 52)
        draw.ellipse(at(x - 20, -27, x + 20, 11), outline=frame, width=3 * s)
        draw.line(at(-7, -10, 7, -10), fill=frame, width=3 * s)


def _draw_mouth(draw, at, smile, opening):
    """Lips along a parabola: the smile lifts the corners, the opening lowers
    the lower lip."""
    s = SUPERSAMPLING
    bend = np.linspace(-1, 1, 25)
    x = (27 + 7 * smile - 5 * opening) * bend
    top = 48 - 11 * smile * bend ** 2 + 6 * smile         # pixels down
    gap = (3 + 25 * opening) * (1 - bend ** 2)

    def line(y):
        return at(*np.stack([x, y], axis=1).ravel().tolist())

    def area(y0, y1):
        points = np.concatenate([np.stack([x, y0], axis=1),
                                 np.stack([x, y1], axis=1)[::-1]])
        return at(*points.ravel().tolist())

    draw.polygon(area(top, top + gap), fill=(96, 36, 40))
    if opening > 0.3:
        draw.polygon(area(top, top + np.minimum(6, 0.3 * gap)),
                     fill=(240, 236, 230))
    draw.line(line(top), fill=(160, 84, 80), width=4 * s, joint='curve')
    draw.line(line(top + gap), fill=(172, 92, 86), width=5 * s, joint='curve')
