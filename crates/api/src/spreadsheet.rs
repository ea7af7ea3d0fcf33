//! Import of extensions from a spreadsheet saved as CSV, in the variants of different programs and countries.
//!
//! Fields are separated by commas, semicolons or tabs. The text is UTF-8 or UTF-16, with or without a byte order mark. A header line may name any
//! of the columns number, name, username, password, owner and voicemail PIN, in any order, in English or Spanish. Without a header the columns are
//! number, username, password and optionally owner.

use std::borrow::Cow;

use model::UserId;

use crate::directory_service::ImportLine;
use crate::import_line::{Column, LineFault, RawLine, validate_line};
use crate::limits::IMPORT_LINES;

/// Columns of a file without a header.
const POSITIONS: [Column; 4] = [Column::Number, Column::Username, Column::Password, Column::Owner];

/// Parse and validate all lines of a file. `owner` is used for lines that name no owner. Fails with the first invalid line.
pub fn read_spreadsheet(bytes: &[u8], owner: &UserId) -> Result<Vec<ImportLine>, LineFault> {
    let text = decode(bytes)?;
    let (separator, text, numbers) = split_lines(&text);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator)
        .from_reader(text.as_bytes());
    let mut columns: Option<Vec<Option<Column>>> = None;
    let mut lines = Vec::new();
    // Each line is one record. A quoted field that continues on the next line is rejected below.
    for (n, record) in reader.records().enumerate() {
        let line = numbers.get(n).copied().unwrap_or_default();
        let record = record.map_err(|_| LineFault::of_line(line, "cannot be read", "no se puede leer"))?;
        if record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        let columns = match &columns {
            Some(columns) => columns,
            None => {
                let header = header(&record, line)?;
                let is_header = header.is_some();
                let named = header.unwrap_or_else(|| POSITIONS.map(Some).to_vec());
                let columns = columns.insert(named);
                if is_header {
                    continue;
                }
                columns
            }
        };
        if lines.len() == IMPORT_LINES {
            return Err(LineFault::of_line(
                line,
                format!("more than {IMPORT_LINES} extensions: import them in parts"),
                format!("más de {IMPORT_LINES} extensiones: impórtelas por partes"),
            ));
        }
        lines.push(validate_line(&raw_line(&record, columns, line)?, owner)?);
    }
    if lines.is_empty() {
        return Err(LineFault::of_line(
            1,
            "the file contains no extension",
            "no hay ninguna extensión en este archivo",
        ));
    }
    Ok(lines)
}

fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, LineFault> {
    let units = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        char::decode_utf16(units)
            .collect::<Result<String, _>>()
            .ok()
            .filter(|_| bytes.len().is_multiple_of(2))
    };
    let decoded = match bytes {
        [0xff, 0xfe, rest @ ..] => units(rest, u16::from_le_bytes).map(Cow::Owned),
        [0xfe, 0xff, rest @ ..] => units(rest, u16::from_be_bytes).map(Cow::Owned),
        [0xef, 0xbb, 0xbf, rest @ ..] => std::str::from_utf8(rest).ok().map(Cow::Borrowed),
        _ => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
    };
    decoded.ok_or_else(|| {
        let good = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
        let line = 1 + bytes.iter().take(good).filter(|byte| **byte == b'\n').count() as u64;
        LineFault::of_line(
            line,
            "the text is neither UTF-8 nor UTF-16: save the table as \"CSV UTF-8\"",
            "el texto no es UTF-8 ni UTF-16: guarde la tabla como «CSV UTF-8»",
        )
    })
}

/// The field separator: the one declared in the first line (`sep=;`), else the most frequent one. Also returns the lines that are not comments, and
/// the line number of each in the file.
fn split_lines(text: &str) -> (u8, String, Vec<u64>) {
    let mut declared = None;
    let (mut kept, mut numbers) = (String::with_capacity(text.len()), Vec::new());
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        if number == 1
            && let Some(separator) = line.strip_prefix("sep=").and_then(|rest| rest.bytes().next())
        {
            declared = Some(separator);
        } else if !line.trim().is_empty() && !line.starts_with('#') {
            kept.push_str(line);
            numbers.push(number);
        }
    }
    let first = kept.lines().next().unwrap_or_default();
    let count = |separator: u8| {
        let mut quoted = false;
        let outside = |byte: &u8| {
            quoted ^= *byte == b'"';
            *byte == separator && !quoted
        };
        first.bytes().filter(outside).count()
    };
    let most = [b'\t', b';', b','].into_iter().max_by_key(|separator| count(*separator));
    let separator = declared.or(most).unwrap_or(b',');
    (separator, kept, numbers)
}

/// The columns that a header line names; `None` if the line names none and is an extension.
fn header(record: &csv::StringRecord, line: u64) -> Result<Option<Vec<Option<Column>>>, LineFault> {
    let named: Vec<Option<Column>> = record.iter().map(column).collect();
    if named.iter().all(Option::is_none) {
        return Ok(None);
    }
    for (n, (cell, column)) in record.iter().zip(&named).enumerate() {
        let cell = cell.trim();
        if column.is_none() && !cell.is_empty() {
            let known = Column::ALL.map(Column::header).join(", ");
            let cell = crate::input::printable(cell);
            return Err(LineFault::of_line(
                line,
                format!("unknown column {cell:?}; known columns: {known}"),
                format!("columna desconocida {cell:?}; columnas conocidas: {known}"),
            ));
        }
        if column.is_some() && named.iter().take(n).any(|earlier| earlier == column) {
            let cell = crate::input::printable(cell);
            return Err(LineFault::of_line(
                line,
                format!("the column {cell:?} appears twice"),
                format!("la columna {cell:?} aparece dos veces"),
            ));
        }
    }
    if !named.contains(&Some(Column::Number)) {
        return Err(LineFault::of_line(
            line,
            "the column number is missing",
            "falta la columna number (número)",
        ));
    }
    Ok(Some(named))
}

fn column(cell: &str) -> Option<Column> {
    let plain: String = cell.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    Some(match plain.as_str() {
        "number" | "extension" | "extensionnumber" | "ext" | "numero" | "número" | "extensión" | "anexo"
        | "interno" => Column::Number,
        "name" | "displayname" | "fullname" | "nombre" => Column::Name,
        "username" | "user" | "login" | "sipuser" | "usuario" | "nombredeusuario" => Column::Username,
        "password" | "secret" | "sippassword" | "contraseña" | "contrasena" | "clave" => Column::Password,
        "owner" | "userid" | "propietario" | "dueño" | "titular" => Column::Owner,
        "voicemailpin" | "pin" | "mailboxpin" | "pindelbuzón" | "pindelbuzon" | "pinbuzón" | "pinbuzon" => {
            Column::Pin
        }
        _ => return None,
    })
}

fn raw_line<'r>(
    record: &'r csv::StringRecord,
    columns: &[Option<Column>],
    line: u64,
) -> Result<RawLine<'r>, LineFault> {
    let mut raw_line = RawLine { line, ..RawLine::default() };
    for (n, cell) in record.iter().enumerate() {
        if cell.trim().is_empty() && columns.get(n).copied().flatten() != Some(Column::Password)
            || cell.is_empty()
        {
            continue;
        }
        let Some(Some(column)) = columns.get(n) else {
            let (has, wanted) = (record.len(), columns.len());
            return Err(LineFault::of_line(
                line,
                format!("has {has} fields, but there are {wanted} columns"),
                format!("tiene {has} campos, pero hay {wanted} columnas"),
            ));
        };
        if cell.contains(['\n', '\r']) {
            let quote = "a field contains a line break: is a quote not closed?";
            let comillas = "un campo contiene un fin de línea: ¿hay unas comillas sin cerrar?";
            return Err(LineFault::new(line, *column, None, (quote.into(), comillas.into())));
        }
        match column {
            Column::Number => raw_line.number = Some(cell.trim()),
            Column::Name => raw_line.name = Some(cell.trim()),
            Column::Username => raw_line.username = Some(cell.trim()),
            // Not trimmed: spaces are part of what the phone hashes.
            Column::Password => raw_line.password = Some(cell),
            Column::Owner => raw_line.owner = Some(cell.trim()),
            Column::Pin => raw_line.pin = Some(cell.trim()),
        }
    }
    Ok(raw_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<ImportLine>, String> {
        read_spreadsheet(bytes, &UserId::parse("admin").unwrap()).map_err(|fault| fault.to_string())
    }

    fn utf16(text: &str) -> Vec<u8> {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        [0xff, 0xfe].into_iter().chain(units).collect()
    }

    #[test]
    fn csv_variants_of_different_countries_are_read() {
        let german =
            "\u{feff}Extension;Name;Password;Voicemail PIN\r\n3007;\"Pérez; Ana\"; s3cret word ;4711\r\n";
        let spanish =
            "número\tnombre\tusuario\tcontraseña\tpropietario\n3007\tAna\tana.p\t s3cret word \tuser_1\n";
        for text in [german.as_bytes().to_vec(), spanish.into(), utf16(spanish), utf16(&german[3..])] {
            let lines = read(&text).unwrap();
            assert_eq!(lines.len(), 1);
            assert_eq!((lines[0].line, lines[0].number.as_str()), (2, "3007"));
            assert_eq!(lines[0].password.as_ref().unwrap().expose(), " s3cret word ");
        }
        let line = &read(german.as_bytes()).unwrap()[0];
        assert_eq!((line.display_name.as_deref(), line.username.as_deref()), (Some("Pérez; Ana"), None));
        assert_eq!(line.pin.as_ref().unwrap().expose(), "4711");
        let plain = read(b"# old PBX\n\n3007,ana,one-long-word,user_7\nsep").unwrap_err();
        assert_eq!(plain, "line 4: number: \"sep\" must have 2 to 6 digits");
        let sep = read(b"sep=;\r\nnumber;password\r\n3007;a,b\r\n").unwrap();
        assert_eq!((sep[0].line, sep[0].password.as_ref().unwrap().expose().as_str()), (3, "a,b"));
        assert!(read(b"number,name\n3007,Ana\n").unwrap()[0].password.is_none());
    }

    #[test]
    fn errors_name_line_and_column() {
        let long = format!("3007,ana,{}", "x".repeat(300));
        for (text, why) in [
            ("", "line 1: the file contains no extension"),
            ("number,password\n", "line 1: the file contains no extension"),
            ("3007,ana,\"open\n3008,berta,two\n", "line 1: password: a field contains a line break"),
            (&long, "line 1: password: must have 1 to 256 characters"),
            ("3007,ana,123456", "line 1: password: must not be a well-known"),
            ("3007,a b,long-enough", "line 1: username: \"a b\" must have 1 to 64"),
            ("number,name\n3007,Ana\n3,Eva\n", "line 3: number: \"3\" must have 2 to 6"),
            ("number,colour\n3007,red\n", "line 1: unknown column \"colour\"; known columns: number, name,"),
            ("name,password\nAna,x\n", "line 1: the column number is missing"),
            ("number,number\n3007,3007\n", "line 1: the column \"number\" appears twice"),
            ("number,name\n3007,Ana,x\n", "line 2: has 3 fields, but there are 2 columns"),
            ("number,name\n,Ana\n", "line 2: number: is missing"),
            ("number,pin\n3007,1234\n", "line 2: voicemail PIN: is too easy to guess"),
            ("number,owner\n3007,a b\n", "line 2: owner: \"a b\" must have 1 to 128"),
        ] {
            let fault = read(text.as_bytes()).unwrap_err();
            assert!(fault.starts_with(why), "{text:?}: {fault}");
        }
        let latin = read(b"number,name\n3007,P\xe9rez\n").unwrap_err();
        assert!(latin.starts_with("line 2: the text is neither UTF-8"), "{latin}");
    }
}
