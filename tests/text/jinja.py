"""Goldens for tests/jinja.rs: what Hugging Face's chat template environment makes of each construct.

    python jinja.py > jinja.json

Made with transformers 5.24.0, jinja2 3.1.6, Python 3.11. Every template here was written for this file. A template that fails in
Python has "error": ours must fail too, not print something else.
"""

import json
import re
from datetime import datetime

import jinja2
import transformers
from transformers.utils import chat_template_utils as hf

assert (transformers.__version__, jinja2.__version__) == ("5.24.0", "3.1.6")

CONTEXT = {
    "s": "Hello World", "q": "it's \"so\"", "u": "Ünï ß ǆ 한국 🐦", "e": "", "w": "  a\tb \n c\u00a0", "lines": "a\nb\r\nc\rd\n\ne",
    "n": 3, "neg": -7, "z": 0, "big": 12345678901234567890, "f": 1.5, "whole": 2.0, "huge": 1e16, "tiny": 1e-7, "third": 1 / 3,
    "yes": True, "no": False, "nil": None,
    "l": [1, "a", None, True, 2.5], "nums": [3, 1, 2, 10], "words": ["pear", "Apple", "fig", "apple"], "nothing": [],
    "nested": [[1, 2], [3, [4, "x'y"]]], "d": {"b": 1, "A": [1, 2], "c": {"x": None, "y": "é\"'"}, "a": 0.1}, "empty": {},
    "rows": [{"k": "x", "v": 2, "o": {"p": 1}}, {"k": "y", "v": 1}, {"k": "x", "v": 3, "o": {"p": 0}}],
    "html": "<a href=\"x\">1 & 2's</a>", "url": "http://a.b/c d?e=é&f=/",
    "esc": "\u0000\u0007\u001b\u007f\u0085\u200b\u2028\ue000\U000f0000\\\n\r\t'\"",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}],
    "bos_token": "<s>", "eos_token": "</s>", "tools": None, "add_generation_prompt": True,
}

PLAIN = r"""
{{ nil }} {{ yes }} {{ no }} {{ missing }} {{ n }} {{ neg }} {{ big }}
{{ f }} {{ whole }} {{ huge }} {{ tiny }} {{ third }} {{ 0.1 + 0.2 }} {{ 1e22 }} {{ 123456789012345680.0 }} {{ 1e15 }} {{ 1e-4 }} {{ 0.00001 }} {{ -0.0 }}
{{ l }} {{ d }} {{ nested }} {{ empty }} {{ nothing }}
{{ (1, 'a') }} {{ (1,) }} {{ () }} {{ [(1, 2), 'x'] }} {{ {'a': (1,)} }} {{ {1: 2, none: 3} }} {{ {true: 1} }}
{{ q }} {{ [q] }} {{ [u] }} {{ [esc] }} {{ ["'"] }} {{ ['"'] }} {{ {'\n': '\t'} }}
{{ [1.0, 1e16, 1e-7, huge, true, none] }} {{ [missing] }}
{{ d.items() }}
{{ d.keys() }} {{ d.values() }}
{{ range(3) }} {{ range(1, 7, 2) }} {{ range(3) | list }} {{ range(5, 0, -2) | list }}
{{ [1] + [2] }} {{ (1,) + (2,) }} {{ [1, 2] * 2 }} {{ 'ab' * 2 }} {{ 2 * 'ab' }} {{ 'a' ~ 1 ~ none ~ true ~ 1.0 ~ [1] }}
{{ 7 / 2 }} {{ 6 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 0.5 }} {{ 7.5 // 2 }} {{ 7.5 % 2 }} {{ -7.5 % 2 }}
{{ 2 ** 63 }} {{ 2 ** 64 }} {{ big * 10 }} {{ big + 1 }}
{{ 1 / 0 }}
{{ true + 1 }} {{ true + true }} {{ true * 3 }} {{ -true }}
{{ 1 == 1.0 }} {{ 1 == true }} {{ 'a' == 1 }} {{ [1] == [1.0] }} {{ none == missing }} {{ (1, 2) == [1, 2] }} {{ {} == [] }} {{ 1 != 2 }}
{{ 'a' < 'b' }} {{ 1 < 2 < 3 }} {{ 3 > 2 > 1 }} {{ 1 < 3 > 2 }} {{ [1, 2] < [1, 3] }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ not 1 }} {{ not '' }} {{ not [] }} {{ not none }} {{ not 0.0 }} {{ not not 1 }}
{{ 1 and 2 }} {{ 0 or 'x' }} {{ '' or none }} {{ [] and 1 }} {{ missing or 'm' }}
{{ 'a' in 'abc' }} {{ 1 in l }} {{ 'b' in d }} {{ 'z' not in d }} {{ 'x' in () }} {{ none in [none] }} {{ '' in 'a' }}
{{ 1 in 'abc' }}
{{ 1 if yes else 2 }} {{ 1 if no }} {{ (1 if no) is undefined }} {{ 'a' if n > 2 and not no else 'b' }}
{{ s[0] }} {{ s[-1] }} {{ s[1:3] }} {{ s[::-1] }} {{ s[:-2] }} {{ s[-3:] }} {{ s[::2] }} {{ s[10:2:-3] }} {{ l[1:] }} {{ l[::-1] }} {{ (1, 2, 3)[1:] }} {{ l[-2:] }} {{ l[100:] }} {{ s[100:] }} {{ l[:-100] }}
{{ s[100] }} {{ l[100] is undefined }} {{ d['zz'] is undefined }} {{ d.zz }} {{ d['b'] }} {{ d.c.x }} {{ d.c['y'] }}
{{ missing.x }}
{{ d.zz.x }}
{{ none.x }}
{{ nil.x }}
{{ nil['x'] }}
{{ missing['x'] }}
{{ missing() }}
{{ s() }}
{{ missing | upper }} {{ missing | length }} {{ missing | list }} {{ missing | join(',') }} {{ missing ~ 'x' }} {{ missing is defined }} {% for x in missing %}{{ x }}{% endfor %}
{{ missing + 1 }}
{{ missing < 1 }}
{{ missing == missing }} {{ missing == none }} {{ missing != 1 }}
{{ 1_000 }} {{ 0x10 }} {{ 0b11 }} {{ 0o17 }} {{ 1e3 }} {{ 1.5e-3 }} {{ 10.0e2 }}
{{ 'a' 'b' }} {{ 'it\'s' }} {{ "a\"b" }} {{ '\\n' }} {{ '\n' }} {{ '\x41\u00e9\t' }} {{ '\N{BULLET}' }} {{ '\q' }} {{ '\0' }} {{ '\101' }}
{{ True }} {{ False }} {{ None }} {{ true }} {{ none }} {{ none is none }} {{ None == none }}
{# a comment {{ x }} #}after{#- c -#} x
a {%- if yes -%} b {%- endif -%} c
  {% if yes %}
  b
  {% endif %}
c
{%+ if yes %} x {% endif +%}
y
{{- ' x ' -}} y {{ 'z' }}

{%- raw %}{{ not this }} {% nor this %}{% generation %}{% endraw -%} z
{% raw -%} a {%- endraw %} b
{% generation %}{{ s }}{% endgeneration %}|{%- generation -%} x {%- endgeneration -%}|{{ '{% generation %}' }}{{ "{% endgeneration %}" }}{# {% generation %} #}
{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}
{% for i in [1, 2] %}{% generation %}{{ loop.index }}{% endgeneration %}{% endfor %}
{% set ns = namespace(a=1) %}{% generation %}{% set ns.a = 5 %}{% endgeneration %}{{ ns.a }}
{% for x in l %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.first }}/{{ loop.last }}/{{ loop.length }}/{{ loop.depth }}/{{ loop.depth0 }};{% endfor %}
{% for x in nums %}{{ loop.previtem }}<{{ x }}<{{ loop.nextitem }} {{ loop.cycle('a', 'b') }} {{ loop.changed(x > 2) }};{% endfor %}
{% for x in nums if x > 1 %}{{ x }}{{ ',' if not loop.last }}{% else %}none{% endfor %}{% for x in nothing %}{% else %}empty{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for k, v in d | dictsort %}{{ k }}{% endfor %}
{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }}{% endfor %}{% for (a, b) in [[1, 2]] %}{{ a + b }}{% endfor %}
{% for c in 'héy' %}{{ c }}.{% endfor %}{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for x in nested recursive %}{% if x is iterable and x is not string %}[{{ loop(x) }}]{% else %}{{ x }}{{ loop.depth }}{% endif %}{% endfor %}
{% for i in [1, 2] %}{% set x = i %}{% endfor %}{{ x }}
{% set x = 0 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}
{% if no %}{% set y = 1 %}{% else %}{% set y = 2 %}{% endif %}{{ y }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c = (1, 2) %}{{ c }}{% set d2 = 1, 2 %}{{ d2 }}
{% set block %} x {{ n }} {% endset %}[{{ block }}]{% set up | upper %}abc{% endset %}{{ up }}
{% set ns = namespace(x=1, y='a') %}{% for i in range(3) %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns.y }}{% set ns2 = namespace({'k': 1}) %}{{ ns2.k }}{{ ns2.missing is defined }}
{% macro m(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}{{ m(1, c=3) }}{{ m(b=1, a=0) }}{{ m.name }}{{ m.arguments }}
{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}
{% macro m(a) %}[{{ a }}{{ caller() }}]{% endmacro %}{% call m(1) %}in{% endcall %}
{% macro m() %}{% for i in [1, 2] %}{{ caller(i, x=3) }}{% endfor %}{% endmacro %}{% call(i, x) m() %}{{ i }}{{ x }};{% endcall %}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m() }}|{{ m(1) | upper }}|{{ m('a') + 'b' }}
{% macro m(a) %}x{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{% if a > 0 %}{{ a }}{{ m(a - 1) }}{% endif %}{% endmacro %}{{ m(3) }}
{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}{% filter upper %}abc{{ s }}{% endfilter %}
{% block b %}x{{ n }}{% endblock %}{% block c scoped %}y{% endblock c %}{{ self.b() }}
{% autoescape true %}{{ html }}{% endautoescape %}{{ html }}
{% do l %}
{% include 'x' %}
{% import 'x' as y %}
{% extends 'x' %}
{{ cycler('a', 'b').next() }}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.reset() }}{{ c.current }}
{% set j = joiner(' | ') %}{{ j() }}a{{ j() }}b{{ j() }}c{% set k = joiner() %}{{ k() }}x{{ k() }}y
{{ dict(a=1, b='x') }} {{ dict([('k', 1)]) }} {{ dict({'a': 1}, b=2) }} {{ dict() }} {{ dict.fromkeys(['a', 'b'], 1) }}
{{ lipsum is callable }} {{ range is callable }} {{ s is callable }} {{ s.upper is callable }} {{ cycler is callable }} {{ namespace is callable }} {{ n is callable }}
{{ raise_exception('no') }}
{{ s is string }} {{ n is string }} {{ n is number }} {{ f is number }} {{ yes is number }} {{ yes is boolean }} {{ yes is integer }} {{ n is integer }} {{ f is float }} {{ n is float }} {{ big is integer }}
{{ d is mapping }} {{ l is mapping }} {{ l is sequence }} {{ s is sequence }} {{ d is sequence }} {{ n is sequence }} {{ nil is sequence }} {{ (1,) is sequence }} {{ range(3) is sequence }} {{ d.items() is sequence }} {{ missing is sequence }}
{{ l is iterable }} {{ s is iterable }} {{ d is iterable }} {{ n is iterable }} {{ nil is iterable }} {{ missing is iterable }} {{ d.items() is iterable }}
{{ n is odd }} {{ n is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ n is eq 3 }} {{ n is ne 3 }} {{ n is lt 4 }} {{ n is le 3 }} {{ n is gt 4 }} {{ n is ge 3 }} {{ n is equalto 3 }} {{ n is greaterthan 2 }} {{ n is lessthan 2 }} {{ n is sameas n }} {{ nil is sameas none }} {{ 1 is sameas true }}
{{ 'abc' is lower }} {{ 'ABC' is upper }} {{ 'aB' is lower }} {{ 'a' is in 'abc' }} {{ 1 is in [1] }} {{ 'upper' is filter }} {{ 'odd' is test }} {{ 'nope' is filter }} {{ html is escaped }} {{ n is not odd }} {{ nil is none }} {{ yes is true }} {{ no is false }} {{ 1 is true }} {{ missing is undefined }}
{{ s is nosuchtest }}
{{ s | nosuchfilter }}
{{ nosuchfunction() }}
{{ neg | abs }} {{ -1.5 | abs }} {{ f | abs }}
{{ rows | map(attribute='k') | list }} {{ rows | map(attribute='o.p', default=9) | list }} {{ words | map('upper') | list }} {{ words | map('replace', 'p', 'b') | join(' ') }} {{ rows | map(attribute='zz') | list }} {{ nested | map(attribute=0) | list }}
{{ rows | selectattr('k', 'equalto', 'x') | list | length }} {{ rows | selectattr('o') | list | length }} {{ rows | rejectattr('o', 'defined') | map(attribute='v') | list }} {{ rows | selectattr('v', '>', 1) | map(attribute='v') | list }} {{ rows | selectattr('o.p', 'defined') | list | length }}
{{ nums | select('odd') | list }} {{ nums | reject('odd') | list }} {{ l | select | list }} {{ l | reject('none') | list }} {{ nums | select('gt', 2) | list }} {{ nums | select('in', [1, 2]) | list }}
{{ nums | sort }} {{ words | sort }} {{ words | sort(case_sensitive=true) }} {{ nums | sort(reverse=true) }} {{ rows | sort(attribute='v') | map(attribute='v') | list }} {{ rows | sort(attribute='k,v') | map(attribute='v') | list }} {{ 'hello' | sort | join }} {{ d | sort }}
{{ l | sort }}
{{ rows | groupby('k') }}
{% for key, items in rows | groupby('k') %}{{ key }}:{{ items | length }};{% endfor %}{% for g in rows | groupby('k') %}{{ g.grouper }}{{ g.list | map(attribute='v') | join }}{% endfor %}{% for k, i in rows | groupby('o.p', default='-') %}{{ k }}{% endfor %}
{{ words | unique | list }} {{ words | unique(case_sensitive=true) | list }} {{ rows | unique(attribute='k') | map(attribute='v') | list }} {{ [1, 1.0, true, 2] | unique | list }}
{{ nums | sum }} {{ rows | sum(attribute='v') }} {{ [] | sum }} {{ [[1], [2]] | sum(start=[]) }} {{ [1.5, 2] | sum }} {{ nums | sum(start=100) }}
{{ nums | min }} {{ nums | max }} {{ words | min }} {{ words | max(case_sensitive=true) }} {{ [] | max }} {{ rows | max(attribute='v') }} {{ 'hello' | max }}
{{ nums | first }} {{ nums | last }} {{ [] | first }} {{ s | first }} {{ s | last }} {{ d | first }} {{ [] | last }}
{{ nums | batch(3) | list }} {{ nums | batch(3, 0) | list }} {{ nums | slice(3) | list }} {{ nums | slice(3, 'x') | list }} {{ range(10) | slice(4) | map('list') | list }}
{{ nums | join }} {{ nums | join('-') }} {{ l | join(',') }} {{ rows | join(',', attribute='k') }} {{ 'abc' | join('.') }} {{ d | join(',') }} {{ [1.0, true, none] | join(' ') }}
{{ l | length }} {{ s | length }} {{ u | length }} {{ d | length }} {{ l | count }} {{ (1, 2) | length }}
{{ n | length }}
{{ l | list }} {{ s | list }} {{ d | list }} {{ (1, 2) | list }}
{{ l | string }} {{ d | string }} {{ nil | string }} {{ 1.0 | string }} {{ yes | string | lower }} {{ l | string | length }} {{ missing | string }}
{{ '42' | int }} {{ '4.7' | int }} {{ 4.7 | int }} {{ -4.7 | int }} {{ 'x' | int }} {{ 'x' | int(5) }} {{ '0x1f' | int(0, 16) }} {{ '0b11' | int(0, 2) }} {{ nil | int }} {{ yes | int }} {{ ' 7 ' | int }} {{ '1e3' | int }} {{ '1_000' | int }} {{ missing | int }} {{ '' | int }} {{ '12345678901234567890123' | int }}
{{ '4.5' | float }} {{ 4 | float }} {{ 'x' | float }} {{ 'x' | float(1.5) }} {{ '1e3' | float }} {{ 'inf' | float }} {{ 'nan' | float }} {{ nil | float }} {{ 'x' | float(2) }} {{ '-inf' | float }}
{{ 2.5 | round }} {{ 3.5 | round }} {{ 2.675 | round(2) }} {{ 42.55 | round(1, 'floor') }} {{ 42.51 | round(1, 'ceil') }} {{ 42 | round }} {{ 1234.5 | round(-2) }} {{ 42.5 | round | int }} {{ -2.5 | round }} {{ 1234 | round(-2) }} {{ 2.5 | round(0) }} {{ 2.1 | round(method='ceil') }}
{{ s | upper }} {{ s | lower }} {{ 'hello wORLD' | capitalize }} {{ "hello wORLD it's foo-bar (baz)" | title }} {{ u | upper }} {{ u | lower }} {{ u | capitalize }} {{ n | upper }} {{ nil | lower }}
{{ w | trim }}| {{ 'xxaxx' | trim('x') }} {{ ' a ' | trim }}| {{ n | trim }}
{{ s | replace('o', '0') }} {{ s | replace('o', '0', 1) }} {{ s | replace('', '-') }} {{ s | replace('o', '0', count=1) }} {{ n | replace('3', '4') }} {{ s | replace('o', 1) }}
{{ s | center(21) }}| {{ s | center(20) }}| {{ 'ab' | center(5) }}| {{ 'x' | center }}|
{{ 'a\nb\n\nc' | indent }}|{{ 'a\nb\n\nc' | indent(2, true) }}|{{ 'a\nb\n\nc' | indent(2, blank=true) }}|{{ 'a\nb' | indent('> ') }}|{{ 'a\nb\n' | indent(1, first=true, blank=true) }}|
{{ 'hello world foo bar' | truncate(11) }} {{ 'hello world foo bar' | truncate(11, true) }} {{ 'hello world foo bar' | truncate(11, false, '..', 0) }} {{ 'short' | truncate(5) }} {{ 'hello wor' | truncate(5, leeway=2, end='!') }} {{ 'hello world and so on' | truncate(15, leeway=0) }}
{{ 'hello world foo bar' | wordwrap(10) }}|{{ 'averyveryverylongword x' | wordwrap(8) }}|{{ 'averyveryverylongword x' | wordwrap(8, false) }}|{{ 'a-b-c hyphen-ated words' | wordwrap(6) }}|{{ 'a b\n\nc d' | wordwrap(3, wrapstring='/') }}
{{ 'Hello, big world! ünï_1 a-b' | wordcount }} {{ '' | wordcount }}
{{ '%s-%d-%5.2f-%x-%r' | format('a', 5, 3.14159, 255, 'q') }} {{ '%(a)s %(b)03d' | format(a=1, b=2) }} {{ '%%' | format }} {{ '%s' | format([1, none]) }}
{{ '%s' % 'a' }} {{ '%s %s' % ('a', 1) }} {{ '%(k)s' % {'k': 1} }} {{ '%5s|%-5s|%05d|%+d|% d|%.3s|%c|%c|%o|%X|%#x|%e|%G|%i|%a|%%' % ('a', 'b', 42, 1, 2, 'abcdef', 'x', 65, 8, 255, 255, 1234.5, 0.00001, 7, 'é') }}
{{ '%s' % bos_token }}{{ '%s and %s' % (s, n) }}{{ "%.2f" % f }}{{ '%s' % nil }}{{ '%r' % s }}{{ '%s' % l }}{{ '%d' % f }}{{ '%*d' % (5, 3) }}{{ '%s' % (l | length) }}{{ n % 2 == 1 }}{{ loop_index0 | default(3) % 2 }}
{{ '%d' % 'x' }}
{{ '%s %s' % 'a' }}
{{ '%s' % ('a', 'b') }}
{{ ('%s' % s).upper() }}{{ '%s' % s | upper }}{{ ('a' ~ '%s') % s }}{{ '%s' * 2 % (1, 2) }}{{ 2 * 7 % 4 }}{{ 10 - 7 % 4 }}{{ -7 % 4 }}{{ messages[0].content % () }}{{ '%s' % -1 }}{{ '%s' % n ** 2 }}{{ n * 2 % 4 * 3 }}
{{ 7 is odd }}{{ (7 % 2) is odd }}{% if loop is undefined and (messages | length) % 2 == 1 %}odd{% endif %}{% if (messages | length % 2) == 1 %}odd{% endif %}{% if not messages | length % 2 %}even{% else %}odd{% endif %}
{{ missing | default('x') }} {{ nil | default('x') }} {{ nil | default('x', true) }} {{ '' | d('x', boolean=true) }} {{ d.zz | default(d.b) }} {{ missing.a.b | default('x') }}
{{ d.c.zz.y | default('x') }}
{{ d | dictsort }} {{ d | dictsort(true) }} {{ {'a': 2, 'b': 1} | dictsort(by='value') }} {{ {'a': 2, 'b': 1} | dictsort(reverse=true) }}
{{ d | items | list }} {{ missing | items | list }}
{{ s | reverse }} {{ l | reverse | list }} {{ u | reverse }}
{{ d | attr('b') }} {{ s | attr('upper') is defined }} {{ d | attr('items') is defined }}
{{ html | escape }} {{ html | e }} {{ html | forceescape }} {{ html | safe }} {{ html | striptags }} {{ html | escape | upper }} {{ {'a': html, 'b': none, 'c': 1} | xmlattr }}
{{ url | urlencode }} {{ {'a b': 'c&d', 'e': 'é'} | urlencode }} {{ [('a', 1), ('b', '/')] | urlencode }}
{{ 'see http://example.com/a and me@x.org' | urlize }}
{{ 1000000 | filesizeformat }} {{ 1 | filesizeformat }} {{ 13000 | filesizeformat }} {{ 1048576 | filesizeformat(true) }} {{ 500 | filesizeformat }} {{ 2500000000 | filesizeformat }}
{{ d | pprint }} {{ l | pprint }} {{ s | pprint }} {{ nums | pprint }}
{{ nums | random in nums }}
{{ d | tojson }} {{ l | tojson }} {{ u | tojson }} {{ u | tojson(ensure_ascii=true) }} {{ esc | tojson }} {{ html | tojson }} {{ nil | tojson }} {{ huge | tojson }} {{ tiny | tojson }} {{ whole | tojson }} {{ big | tojson }} {{ (1, 2) | tojson }} {{ {1: 2, none: 3, true: 4, 1.5: 6} | tojson }}
{{ d | tojson(indent=2) }} {{ none | tojson(indent=2) }}{{ empty | tojson(indent=2) }} {{ nested | tojson(indent=4) }} {{ d | tojson(sort_keys=true) }} {{ d | tojson(separators=(',', ':')) }} {{ d | tojson(indent=1, separators=(',', ': ')) }} {{ d | tojson(separators=[', ', ':']) }} {{ d | tojson(true, 2) }} {{ nested | tojson(indent='\t') }} {{ nested | tojson(indent=0) }} {{ d | tojson(indent=none) }} {{ 'inf' | float | tojson }} {{ 'nan' | float | tojson }}
{{ missing | tojson }}
{{ d.items() | tojson }}
{{ d.items() | list | tojson }} {{ d | dictsort | tojson }} {{ s[0:2] | tojson }} {{ l[1:] | tojson }} {{ nums | sort | tojson }} {{ (rows | map(attribute='v') | list) | tojson }}
{{ rows | map(attribute='v') | tojson }}
{{ s.upper() }} {{ s.lower() }} {{ s.title() }} {{ s.capitalize() }} {{ s.swapcase() }} {{ u.upper() }} {{ 'ß'.casefold() }} {{ "they're bill's 3rd".title() }}
{{ w.strip() }}|{{ w.lstrip() }}|{{ w.rstrip() }}|{{ 'xxaxx'.strip('x') }} {{ 'abcab'.lstrip('ab') }} {{ 'abcab'.rstrip('ba') }} {{ s.strip(none) }}
{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a b c'.split(' ', 1) }} {{ 'a b c'.split(maxsplit=1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ 'a b c'.rsplit() }} {{ ' a b  c '.rsplit(none, 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'abc'.split('') if no }} {{ 'a--b'.split('--')[-1] }} {{ 'a b c'.split(sep=' ', maxsplit=-1) }} {{ w.split() }} {{ ' a b c '.split(none, 1) }}
{{ 'abc'.split('') }}
{{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('=') }} {{ 'abc'.rpartition('=') }} {{ lines.splitlines() }} {{ lines.splitlines(true) }} {{ lines.splitlines(keepends=true) }}
{{ 'xabc'.removeprefix('x') }} {{ 'abcx'.removesuffix('x') }} {{ 'abc'.removeprefix('z') }} {{ 'abc'.removesuffix('') }} {{ 'xxa'.removeprefix('x') }}
{{ 'abcabc'.find('c') }} {{ 'abcabc'.find('c', 3) }} {{ 'abc'.find('z') }} {{ 'abcabc'.rfind('b') }} {{ 'abcabc'.index('b') }} {{ 'abcabc'.rindex('b') }} {{ u.find('ß') }} {{ 'abcabc'.find('b', 2, 4) }} {{ 'abc'.find('') }} {{ 'abcabc'.count('bc') }} {{ 'aaa'.count('a', 1) }} {{ 'aaa'.count('') }}
{{ 'abc'.index('z') }}
{{ 'ab'.ljust(5) }}|{{ 'ab'.rjust(5, '*') }}|{{ 'ab'.center(5) }}|{{ 'ab'.center(6, '-') }}|{{ 'abc'.center(6) }}|{{ '42'.zfill(5) }} {{ '-42'.zfill(5) }} {{ '+4'.zfill(4) }} {{ 'a\tb'.expandtabs() }} {{ 'a\tb\n\tc'.expandtabs(4) }} {{ 'ab'.ljust(1) }}
{{ 'abc'.startswith('a') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.endswith('c') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.endswith('b', 0, 2) }} {{ 'abc'.startswith('') }}
{{ 'abc'.isalpha() }} {{ 'abc1'.isalnum() }} {{ '123'.isdigit() }} {{ '12.3'.isdigit() }} {{ '½'.isnumeric() }} {{ '½'.isdigit() }} {{ '²'.isdigit() }} {{ '²'.isdecimal() }} {{ '٣'.isdecimal() }} {{ ' \t'.isspace() }} {{ ''.isspace() }} {{ 'abc'.islower() }} {{ 'ABC1'.isupper() }} {{ 'Abc Def'.istitle() }} {{ 'abc'.isascii() }} {{ u.isascii() }} {{ 'a_1'.isidentifier() }} {{ '1a'.isidentifier() }} {{ 'a\n'.isprintable() }} {{ '한'.isalpha() }}
{{ 'a-b'.replace('-', '+') }} {{ 'aaa'.replace('a', 'b', 2) }} {{ 'abc'.replace('', '-') }} {{ ', '.join(['a', 'b']) }} {{ ''.join(['x']) }} {{ '-'.join('abc') }} {{ ','.join(d) }}
{{ ','.join([1, 2]) }}
{{ '{} {}'.format(1, 'a') }} {{ '{0}{1}{0}'.format('a', 'b') }} {{ '{a} {b:>5}'.format(a=1, b='x') }} {{ '{:.2f} {:05d} {:,} {:x} {:%} {!r}'.format(3.14159, 42, 1234567, 255, 0.5, 'q') }} {{ '{{}}'.format() }} {{ '{0[a]} {1[0]}'.format({'a': 1}, [2]) }} {{ '{:^7}|{:<4}|{:*>4}'.format('a', 'b', 'c') }} {{ '{}'.format(none) }} {{ '{}'.format(l) }}
{{ 'abc'.translate({97: 'x'}) }} {{ 'abc'.encode() }} {{ s.__class__ }}
{{ 'a'.nosuch() }}
{{ d.get('b') }} {{ d.get('zz') }} {{ d.get('zz', 5) }} {{ d.keys() | list }} {{ d.values() | list }} {{ d.items() | list }} {{ d.copy() }} {{ 'b' in d.keys() }} {{ 1 in d.values() }} {{ d.keys() | length }}
{{ d.update({'x': 1}) }}
{{ d.pop('b') }}
{{ d.setdefault('b', 1) }}
{{ l.append(1) }}
{% set x = [] %}{{ x.append(1) }}{{ x }}
{{ l.pop() }}
{{ nums.sort() }}
{{ nums.insert(0, 1) }}
{{ nums.extend([1]) }}
{{ l.index('a') }} {{ nums.count(1) }} {{ l.copy() }} {{ (1, 2, 1).count(1) }} {{ (1, 2).index(2) }} {{ nums.index(10) }}
{{ l.index('zz') }}
{{ n.bit_length() }} {{ f.is_integer() }} {{ whole.is_integer() }}
{{ messages[0]['role'] }} {{ messages[-1].content }} {{ messages[1:] | length }} {{ messages | map(attribute='role') | join(',') }} {{ messages[0].role in ['system', 'developer'] }} {{ messages | selectattr('role', 'eq', 'user') | map(attribute='content') | first }}
{{ 'x' if messages[0]['role'] == 'system' else '' }}{% set system = messages[0].content if messages[0].role == 'system' %}{{ system }}{% set loop_messages = messages[1:] %}{% for m in loop_messages %}{{ m.role }}{% endfor %}
{% for m in messages[::-1] %}{% set index = (messages | length - 1) - loop.index0 %}{{ index }}{{ m.role }}{% endfor %}
{% if tools is not none and tools %}a{% elif not tools %}b{% endif %}{% if tools is defined and tools is not none %}c{% endif %}{{ tools | length if tools else 0 }}
{{ strftime_now is defined }} {{ tojson is defined }}{{ raise_exception is callable }}
{% set content = messages[0].content %}{% if content is string %}{{ content.split('</think>')[-1].lstrip('\n') }}{% endif %}{{ ('a</think>b'.split('</think>')[0].rstrip('\n').split('<think>')[-1]).lstrip('\n') }}
{% if messages[0].content is not string and messages[0].content is iterable %}x{% else %}y{% endif %}{{ messages[0]['missing'] is defined }}{{ messages[0].get('missing') is none }}{{ 'role' in messages[0] }}
{%- for key in d.keys() | reject('in', ['b', 'A']) | list %}{{ key }},{% endfor %}{{ d.c.items() | list }}{{ (d.items() | list)[0][0] }}{{ d | items | first }}{{ d | length > 3 }}
{{ ({'a': 1}).a }}{{ [1, 2][0] }}{{ 'abc'[1] }}{{ (1, 2)[0] }}{{ {'a': {'b': 5}}['a']['b'] }}{{ nested[1][1][1] }}{{ nested.1.0 }}
{{ s | upper | lower | length + 1 }} {{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ 1 ~ 2 + 3 }} {{ '1' + '2' }} {{ not 1 == 2 }} {{ n is odd and f is float }} {{ 1 if 2 is even else 3 }} {{ -n | abs }} {{ - 1 + 2 }} {{ +n }}
{{ 'a' + 1 }}
{{ 1 + 'a' }}
{{ [] + 'a' }}
{{ none + 1 }}
{{ 'a' - 1 }}
{{ 'unclosed }}
{{ 1 + }}
{% if %}{% endif %}
{% for %}{% endfor %}
{% nosuchtag %}
{% endif %}
{{ a b }}
{{ 'x' | upper() }}{{ 'x' | replace(old='x', new='y') }}{{ [1] | join(d='-') }}{{ s.split(' ') | first }}{{ (s | upper).split() | last }}{{ s.upper().lower().title() }}
{{ varargs is defined }}{{ self is defined }}{{ loop is defined }}{{ caller is defined }}{{ namespace is defined }}{{ range is defined }}
{{ 3 | string ~ 'x' }}{{ 1 in [1, 2] and 2 not in [1] }}{{ ['a', 'b'] | last }}{{ (n > 2) | string }}{{ (none | default('z', true)) ~ '' }}
{{ '\r\n' | length }}{{ 'a\
b' }}
{%- set a = {'type': 'function', 'f': {'n': 'x', 'p': {'a': [1, 2.0, none]}}} %}{{ a }}{{ a | tojson }}{{ a.f.p | tojson(indent=4) }}
{%- set items = [] %}{% set items = items + [1] %}{% set items = items + ['b'] %}{{ items }}{{ items | tojson }}
{%- set d2 = dict(d, **{'z': 1}) %}{{ d2 | length }}
{%- macro f(x) %}{{ x.a | default('?') }}{% endmacro %}{{ f({'a': 1}) }}{{ f(x={}) }}{{ f(*[{'a': 2}]) }}{{ f(**{'x': {'a': 3}}) }}
{{ range(3) | map('string') | join }}{{ range(2) | list + [5] }}{{ zip is defined }}{{ enumerate is defined }}{{ len is defined }}{{ str is defined }}{{ debug is defined }}
{{ 'a' | bool }}
{{ 'a b' | split }}
{{ [[1], [2]] | chain | list }}
{{ 'a\nb' | lines }}
{{ [1] | zip([2]) | list }}
{{ 2 is startingwith 1 }}
{{ 'x' is safe }}
""".split("\n")

# A line of nothing but expressions is as many cases.
EXPRESSION = re.compile(r"""\{\{(?:[^{}'"]|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\{[^{}]*\})*\}\}""")


def expressions(line):
    rest = EXPRESSION.sub("", line)
    return EXPRESSION.findall(line) if not rest.strip() else [line]


# Multi-line cases, with the line ends and blanks that Jinja treats in its own way.
BLOCKS = [
    "{% for m in messages %}\r\n<|{{ m['role'] }}|>\r\n{{ m['content'] + '\r\n' }}{% endfor %}\r\n<|end|>\r\n",
    "a\rb\r\rc{{ 'x\ry' }}{# \r\n #}\r\n", "{{ 'a\\r\\nb' }}\r", "\r\n{% if yes %}\r\n  x\r\n  {% endif %}\r\ny",
    "x\n", "x\n\n", "{{ s }}\n", "{% if yes %}\n\nx\n{% endif %}\n\n", "  {{ s }}  \n  {# c #}\n  y", "\t{% set x = 1 %}\n\t{{ x }}\n",
    "{% raw %}\na\n{% endraw %}\nb", "a  {% if yes %}b{% endif %}  \n  c", "{%- if yes %}\n  a\n{%- endif %}\n", "{{ s -}}  \n\n  x", "x  \n\n{{- s }}",
    "{% set x %}\n  a\n{% endset %}\n[{{ x }}]", "{% macro m() %}\n  a\n{% endmacro %}\n[{{ m() }}]", "{%if yes%}a{%endif%}{{s}}{{s|upper}}",
    "{#- c -#}\n a {#- d #}\n b", "{% for i in [1,2] -%}\n  {{ i }}\n{%- endfor %}", "\u2028a\x85b\x0bc\x0cd{{ 'e\u2028f' }}", "{{\n s\n}}\n{%\n if yes\n%}a{% endif\n%}",
    "{% generation %}\n a\n{% endgeneration %}\nb", "  {% generation -%}\n a\n  {%- endgeneration %}\nb", "{%generation%}a{%endgeneration%}", "{%+ generation %}\na{%+ endgeneration %}\nb",
    "{{ '%}' }}{{ '}}' }}{{ \"{{\" }}{{ '{%' }}{{ '{#' }}", "{{ {'a': {'b': 1}}}}", "{{ d.c.y }}{{ d['c']['y'] }}", "{{ '" + "é" * 300 + "' }}",
    "{% raw %}{% generation %}\r\n{{ '%s' % 1 }}{% endraw %}{{ 5 % 3 }}{# {{ '%s' % }} #}", "{% set x = '%s|%s' % (s, n) %}{{ x }}{% if '%d' % n == '3' %}y{% endif %}",
    "{% if messages|length % 2 == 1 %}odd{% endif %}{{ messages[0].content ~ '%s' % n }}{{ ('%s' % s)[0:2] }}{{ {'a': '%s' % n, 'b': 5 % 3} }}{{ ['%s' % n, 7 % 4] }}",
]

MOMENT = datetime(2024, 2, 5, 3, 4, 9, 76)
MOMENTS = [MOMENT, datetime(1999, 12, 31, 23, 59, 59), datetime(2026, 1, 1, 12, 0, 0), datetime(2024, 12, 30, 0, 30, 5, 999999), datetime(2027, 1, 3, 11, 5, 0)]
# Every code, with every flag, and some with a width.
DATES = [f"%{flag}{code}" for flag in ["", "-", "_", "0", "^", "#"] for code in
         "aAbBcCdDeFgGhHIjklmMnpPrRStTuUVwWxXyYzZ%"] + ["%f", "%5d", "%05e", "%10B", "%-10j", "%_6Y", "%Ey", "%Od", "%EY", "%Q", "%", "a%", "%:z", "%s %%s",
         "%d %B %Y", "%Y-%m-%d %H:%M:%S", "%A, %d. %b", "é%Y年%m月%d日", "%+", "%N", "%v", "%i", "%L", "%J", "%K", "%E", "%O", "%f%f", "%-f", "%06d", "%#Z", "%3C"]


def main():
    cases = []
    for source in [t for line in PLAIN if line for t in expressions(line)] + BLOCKS:
        try:
            text = hf._compile_jinja_template(source).render(**CONTEXT)
            assert " at 0x" not in text, source
            cases.append({"template": source, "text": text})
        except Exception as e:
            cases.append({"template": source, "error": f"{type(e).__name__}: {e}"})
    dates = []
    for moment in MOMENTS:
        numbers = [moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second, moment.microsecond]
        texts = [moment.strftime(d) for d in DATES if "%s" not in d.replace("%%", "")]
        dates.append({"moment": numbers, "texts": texts})
    print(json.dumps({"context": CONTEXT, "cases": cases, "formats": [d for d in DATES if "%s" not in d.replace("%%", "")],
                      "dates": dates}, ensure_ascii=True, indent=0))


if __name__ == "__main__":
    main()
