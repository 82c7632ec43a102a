"""The modules that a call can import: the component has no files of the standard library, so what is not imported before the
snapshot is not there."""

import __future__  # noqa: F401
import abc, argparse, array, ast, atexit, base64, binascii, bisect, builtins, calendar, cmath, cmd, code, codecs  # noqa: F401, E401
import codeop, collections, collections.abc, colorsys, compileall, concurrent.futures, configparser, contextlib  # noqa: F401, E401
import contextvars, copy, copyreg, csv, dataclasses, datetime, decimal, difflib, dis, doctest, email, email.message  # noqa: F401, E401
import email.mime.multipart, email.mime.text, email.parser, email.policy, email.utils, encodings, encodings.ascii  # noqa: F401, E401
import encodings.cp1252, encodings.idna, encodings.latin_1, encodings.punycode, encodings.raw_unicode_escape  # noqa: F401, E401
import encodings.unicode_escape, encodings.utf_16, encodings.utf_16_be, encodings.utf_16_le, encodings.utf_32  # noqa: F401, E401
import encodings.utf_8, encodings.utf_8_sig, enum, errno, fileinput, filecmp, fnmatch, fractions, functools, gc  # noqa: F401, E401
import getopt, gettext, glob, graphlib, hashlib, heapq, hmac, html, html.entities, html.parser, http, http.cookies  # noqa: F401, E401
import importlib, importlib.abc, importlib.machinery, importlib.metadata, importlib.resources, importlib.util  # noqa: F401, E401
import inspect, io, ipaddress, itertools, json, json.decoder, json.encoder, keyword, linecache, locale, logging  # noqa: F401, E401
import logging.config, logging.handlers, marshal, math, mimetypes, numbers, opcode, operator, optparse, os, os.path  # noqa: F401, E401
import pathlib, pickle, pickletools, pkgutil, platform, plistlib, posixpath, pprint, py_compile, pyclbr, queue  # noqa: F401, E401
import quopri, random, re, reprlib, runpy, sched, secrets, select, selectors, shelve, shlex, shutil, signal  # noqa: F401, E401
import site, stat, statistics, string, string.templatelib, stringprep, struct, symtable, sys, sysconfig  # noqa: F401, E401
import tabnanny, tarfile, tempfile, textwrap, threading, time, timeit, token, tokenize, tomllib, trace, traceback  # noqa: F401, E401
import tracemalloc, types, typing, unicodedata, unittest, unittest.mock, urllib, urllib.error, urllib.parse  # noqa: F401, E401
import uuid, warnings, weakref, xml, xml.dom, xml.dom.minidom, xml.etree, xml.etree.ElementTree, xml.parsers.expat  # noqa: F401, E401
import xml.sax, xml.sax.saxutils, zipapp, zipfile, zipimport, zoneinfo  # noqa: F401, E401

# What is there already is there in every call: a collection that looked at it would touch, and so copy, pages of the snapshot.
gc.collect()
gc.freeze()
