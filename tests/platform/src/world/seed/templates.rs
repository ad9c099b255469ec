//! Names, places and prices that the seeded world is drawn from.

pub struct City {
    pub name: &'static str,
    pub timezone: &'static str,
}

pub const CITIES: [City; 5] = [
    City { name: "Kabul", timezone: "Asia/Kabul" },
    City { name: "Herat", timezone: "Asia/Kabul" },
    City { name: "Mazar", timezone: "Asia/Kabul" },
    City { name: "Dubai", timezone: "Asia/Dubai" },
    City { name: "Dushanbe", timezone: "Asia/Dushanbe" },
];

pub struct TenantTemplate {
    pub name: &'static str,
    /// First word of its hotels' names.
    pub brand: &'static str,
    pub sharia: bool,
    pub locale: &'static str,
    pub currency: &'static str,
    /// A usual night, in units of the currency.
    pub night_units: i64,
    /// From which a charge needs a second factor, in units of the currency.
    pub large_charge_units: i64,
    /// Indices into [`CITIES`].
    pub cities: &'static [usize],
}

pub const TENANTS: [TenantTemplate; 3] = [
    TenantTemplate {
        name: "Bagh-e Anar Hotels",
        brand: "Anar",
        sharia: true,
        locale: "fa-AF",
        currency: "AFN",
        night_units: 5_200,
        large_charge_units: 50_000,
        cities: &[0, 1, 2],
    },
    TenantTemplate {
        name: "Lantern Creek Hospitality",
        brand: "Lantern Creek",
        sharia: false,
        locale: "en",
        currency: "AED",
        night_units: 460,
        large_charge_units: 3_000,
        cities: &[3, 0],
    },
    TenantTemplate {
        name: "Pamir Gate Group",
        brand: "Pamir Gate",
        sharia: false,
        locale: "fr",
        currency: "TJS",
        night_units: 780,
        large_charge_units: 6_000,
        cities: &[4, 2],
    },
];

/// Guests are shown by first name and initial only.
pub const GUESTS: [&str; 16] = [
    "Zarmina H.",
    "Farid N.",
    "Laila S.",
    "Omid R.",
    "Parwana K.",
    "Jamshed A.",
    "Nilufar T.",
    "Rustam B.",
    "Huda M.",
    "Khalid W.",
    "Sitora G.",
    "Idris Y.",
    "Mariam D.",
    "Tahir Z.",
    "Elena V.",
    "Marc L.",
];

pub struct AlertTemplate {
    pub severity: &'static str,
    pub category: &'static str,
    pub source: &'static str,
    pub title_en: &'static str,
    pub title_dari: &'static str,
}

pub const ALERTS: [AlertTemplate; 8] = [
    AlertTemplate {
        severity: "critical",
        category: "generator",
        source: "maintenance-service",
        title_en: "Generator fuel below ten percent",
        title_dari: "سوخت جنراتور کمتر از ده درصد",
    },
    AlertTemplate {
        severity: "high",
        category: "overbooking",
        source: "inventory-service",
        title_en: "Tonight is overbooked by two rooms",
        title_dari: "امشب دو اتاق بیش از ظرفیت رزرو شده است",
    },
    AlertTemplate {
        severity: "medium",
        category: "lock_battery",
        source: "lock-integration-service",
        title_en: "Door lock battery is low",
        title_dari: "بتری قفل دروازه ضعیف است",
    },
    AlertTemplate {
        severity: "high",
        category: "cash_drawer",
        source: "billing-service",
        title_en: "Cash drawer does not balance",
        title_dari: "صندوق نقدی برابر نیست",
    },
    AlertTemplate {
        severity: "low",
        category: "linen",
        source: "housekeeping-service",
        title_en: "Linen will run out tomorrow",
        title_dari: "روجایی فردا تمام می‌شود",
    },
    AlertTemplate {
        severity: "info",
        category: "arrival_window",
        source: "reservation-service",
        title_en: "A group arrives within the hour",
        title_dari: "یک گروه در ظرف یک ساعت می‌رسد",
    },
    AlertTemplate {
        severity: "medium",
        category: "water",
        source: "maintenance-service",
        title_en: "Hot water pressure is falling",
        title_dari: "فشار آب گرم پایین می‌آید",
    },
    AlertTemplate {
        severity: "high",
        category: "staffing",
        source: "housekeeping-service",
        title_en: "The evening shift has a gap",
        title_dari: "نوبت شام کمبود کارمند دارد",
    },
];

pub struct SuggestionTemplate {
    pub category: &'static str,
    pub title: &'static str,
    pub summary: &'static str,
    /// Whether a Sharia tenant may see it.
    pub sharia_compliant: bool,
}

pub const SUGGESTIONS: [SuggestionTemplate; 7] = [
    SuggestionTemplate {
        category: "overbooking_warning",
        title: "Close the standard rooms for Thursday",
        summary: "Cancellations run below forecast; two guests would have to be moved.",
        sharia_compliant: true,
    },
    SuggestionTemplate {
        category: "rate_change",
        title: "Raise the weekend rate by six percent",
        summary: "Demand for the weekend is well above last year's.",
        sharia_compliant: false,
    },
    SuggestionTemplate {
        category: "housekeeping_reorder",
        title: "Clean the third floor first",
        summary: "Most early arrivals are booked there.",
        sharia_compliant: true,
    },
    SuggestionTemplate {
        category: "maintenance_priority",
        title: "Take the lift before the boiler",
        summary: "A wedding party arrives at noon.",
        sharia_compliant: true,
    },
    SuggestionTemplate {
        category: "guest_handling",
        title: "Prepare a late check-out",
        summary: "The returning guest's flight leaves in the evening.",
        sharia_compliant: true,
    },
    SuggestionTemplate {
        category: "staffing",
        title: "Call one housekeeper more for Friday",
        summary: "Departures are a third above the usual.",
        sharia_compliant: true,
    },
    SuggestionTemplate {
        category: "audit_anomaly",
        title: "Look at refunds of the night shift",
        summary: "Three refunds just below the threshold within an hour.",
        sharia_compliant: false,
    },
];

pub const WORK_ORDERS: [(&str, &str, &str); 6] = [
    ("plumbing", "normal", "Tap drips in the bathroom"),
    ("electrical", "high", "Corridor light is out"),
    ("hvac", "high", "Air conditioner blows warm"),
    ("lock", "normal", "Door closes with a delay"),
    ("generator", "critical", "Generator needs an oil change"),
    ("water", "low", "Filter is due"),
];
