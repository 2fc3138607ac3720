"""The words of generated games: common English words of five letters, chosen for atlas."""

from __future__ import annotations

_TEXT = """
about above acorn actor acute adapt admit adopt adult after again agent agree ahead alarm album
alert alike alive alley allow along aloud amber amuse angle angry ankle apple apply apron
arena argue arise arrow aside atlas attic audio avoid awake award bacon badge baker basic basil
basin beach beard beast beech begin being below bench berry birch black blade blame blank blast
blend blind block bloom board boast bonus boost booth brain brand brave bread break brick bride
brief bring broad brook broom brown brush build bunch burst buyer cabin cable camel candy canoe
cargo carry catch cause cedar chain chair chalk charm chart chase cheap check cheek cheer chess
chest chief child chill choir chord cider civic claim class clean clear clerk cliff climb clock
close cloth cloud clove coach coast cocoa coral count court cover crane crash cream creek crest
crisp cross crowd crown crumb crust cubic curve cycle daily dairy daisy dance delay dense depth
diary diner ditch diver dough draft drain drama dream dress drift drink drive eager eagle early
earth easel eight elbow empty enjoy enter equal error essay event every exact extra fable faint
fairy faith false fancy feast fence ferry fetch fever fiber field fifth fifty final first flame
flank flask fleet flint float flock flood floor flour fluid flute focus force forge forty found
frame fresh front frost fruit funny ghost giant glade glass glide globe glove grace grade grain
grand grant grape graph grass great green greet grill group guard guess guest guide habit happy
harsh hasty hazel heart heavy hedge hello hinge hobby honey horse hotel house human humid ideal
image index inner input ivory jelly jewel joint jolly judge juice kayak kiosk knife knock label
labor large laser later laugh layer learn least lemon level lever light limit linen liver local
lodge logic loose loyal lucky lunar lunch maize major mango manor maple march marsh match mayor
medal melon merry metal meter midst might minor model money month moral motor mound mount mouse
mouth movie music naval nerve never night noble noise north novel nurse oasis ocean offer olive
onion opera orbit order organ other otter ounce outer owner oxide paint panel paper party pasta
patch pause peace peach pearl pedal penny phase phone photo piano piece pilot pinch pitch place
plain plane plant plate plaza plumb point polar porch pouch pound power press price pride prime
print prize proof proud pulse punch pupil puppy purse queen quest quick quiet quilt quite quote
radar radio rainy raise ranch range rapid ratio reach react ready realm rebel relax reply rider
ridge right rinse rival river roast robin rocky rough round route royal rural rusty salad salty
sauce scale scarf scene scent scope score scout screw seven shade shaft shape share shark sharp
sheep sheet shelf shell shift shine shirt shoal shore short shout shown sight silky skate skill
sleep slice slide slope small smart smile smoke snack snail snake solid solve sound south space
spade spare spark speak spear speed spell spend spice spike spine spoon sport spray squad stack
staff stage stain stair stamp stand start state steam steel steep stern stick still stone stool
store storm story stove straw strip study stuff style sugar sunny super surge swamp sweet swift
swing sword syrup table taken taste teach thank thick thief thing think third thorn three throw
thumb tiger tight timer toast today token tooth topic torch total touch tower toxic track trade
trail train treat trend trial tribe trick truck trunk trust truth tulip tunic twice twist uncle
under union unite until upper upset urban usual valid value vapor vault verse video villa vinyl
visit vital vivid vocal voice wagon waist watch water weave weigh whale wheat wheel where which
while white whole width windy woman world worry worth wound wrist write yacht yield young youth
zebra
"""
WORDS: tuple[str, ...] = tuple(_TEXT.split())
